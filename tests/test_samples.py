"""Every file under samples/ is used as a person would use it; the jobs of CI, line by line against a live service."""

from __future__ import annotations

import ast
import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from keystore.configuration import load_keystore_configuration
from signer.config import (
    CertificateConfiguration,
    LogConfiguration,
    MetricsConfiguration,
    ServerConfiguration,
    TracingConfiguration,
    load_server_configuration,
)
from tests.live import ROOT
from tests.oidc import JOBS_SECRET, LocalIssuer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.live import Live

SAMPLES = ROOT / "samples"
CI_FILES = {"github": "github-actions.yml", "gitlab": "gitlab-ci.yml"}
COMMIT = "4f2a91c8d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f"


def test_the_sample_configuration_is_read_and_states_the_defaults(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "sealmark.toml", tmp_path / "sealmark.toml")
    server = load_server_configuration(tmp_path)
    assert server.trusted_proxies == (ip_network("10.0.0.5/32"), ip_network("10.1.0.0/24"))
    assert [(export.to, export.format) for export in server.exports] == [("file:audit.jsonl", "json")]
    default = ServerConfiguration(trusted_proxies=server.trusted_proxies, exports=server.exports)
    assert server == default
    keystore = load_keystore_configuration(tmp_path)
    assert (keystore.hsm.cache_size, keystore.hsm.sessions) == (1000, 8)
    assert keystore.database.url.endswith(str(tmp_path / "sealmark.db"))


def test_the_sample_configuration_names_every_setting_of_the_server() -> None:
    text = (SAMPLES / "sealmark.toml").read_text(encoding="utf-8")
    names = [
        field.name
        for table in (
            *(ServerConfiguration, CertificateConfiguration, LogConfiguration),
            *(MetricsConfiguration, TracingConfiguration),
        )
        for field in fields(table)
    ]
    assert [
        name for name in names if f"{name} = " not in text and f"[{name}]" not in text and f".{name}]]" not in text
    ] == []


def run(*command: object, place: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=place, env=variables, capture_output=True, text=True, check=False)


# What each CI sets by itself, of what the jobs read.
GITHUB = {
    "GITHUB_REPOSITORY": "shop/app",
    "GITHUB_SHA": COMMIT,
    "GITHUB_REF": "refs/tags/v1.0.0",
    "GITHUB_RUN_ID": "1658821493",
}
GITLAB = {
    "CI_PROJECT_PATH": "shop/app",
    "CI_COMMIT_SHA": COMMIT,
    "CI_COMMIT_TAG": "v1.0.0",
    "CI_PIPELINE_ID": "1658821493",
}
# The administrator's command that each sample names in its first lines, and the claims of a job for which it is right.
TRUSTED: dict[str, dict[str, Any]] = {
    "github": {"repository": "shop/app", "environment": "release"},
    "gitlab": {"project_path": "shop/app", "ref_path": "refs/tags/v1.0.0"},
}
Step = tuple[str, dict[str, str], list[str]]  # a script, its variables, the shell that the CI runs it with


def github_steps(expressions: dict[str, str]) -> Iterator[Step]:
    """Every `run` of the workflow, with the variables that it sees and GitHub's own shell."""

    def resolved(variables: dict[str, str]) -> dict[str, str]:
        return {
            name: re.sub(r"\$\{\{ *([\w.]+) *\}\}", lambda found: expressions[found[1]], text)
            for name, text in variables.items()
        }

    workflow = yaml.safe_load((SAMPLES / "github-actions.yml").read_text(encoding="utf-8"))
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                variables = resolved(job.get("env", {})) | resolved(step.get("env", {}))
                yield step["run"], GITHUB | variables, ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]


def gitlab_steps(expressions: dict[str, str]) -> Iterator[Step]:
    """Every line of every job's scripts, in the order of the stages."""
    variables = GITLAB | {name.partition(".")[2]: text for name, text in expressions.items()}
    pipeline = yaml.safe_load((SAMPLES / "gitlab-ci.yml").read_text(encoding="utf-8"))
    for stage in pipeline["stages"]:
        for job in (each for each in pipeline.values() if isinstance(each, dict) and each["stage"] == stage):
            for line in [*job.get("before_script", []), *job["script"]]:
                yield line, variables, ["bash", "-eo", "pipefail", "-c"]


@contextmanager
def identity_of(ci: str, live: Live, place: Path) -> Iterator[dict[str, str]]:
    """The service trusts a CI that is here, by the sample's own command; what that CI gives to the job."""
    (written,) = re.findall(
        r"^# +(sealmark trusted-issuers .*)$",
        (SAMPLES / CI_FILES[ci]).read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    typed = shlex.split(written.replace("OWNER/REPO", "shop/app").replace("GROUP/PROJECT", "shop/app"))
    admin = live.environment(SEALMARK_TOKEN=(live.folder / ".sealmark" / "admin.token").read_text().strip())
    with LocalIssuer() as issuer:
        for command in (
            typed,
            ["sealmark", "trusted-issuers", "update", ci, "--issuer-url", issuer.url, "--algorithm", "ES256"],
        ):
            done = run(*command, place=place, variables=admin)
            assert done.returncode == 0, done.stderr
        if ci == "github":
            issuer.job = TRUSTED[ci]
            yield {
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/actions",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": JOBS_SECRET,
            }
        else:
            ((variable, asked),) = yaml.safe_load((SAMPLES / CI_FILES[ci]).read_text())["sign"]["id_tokens"].items()
            assert asked == {"aud": "$SEALMARK_URL"}
            yield {variable: issuer.token(aud=live.service.url, **TRUSTED[ci])}
        run("sealmark", "trusted-issuers", "delete", ci, "--yes", place=place, variables=admin)


@pytest.mark.parametrize(("ci", "steps"), [("github", github_steps), ("gitlab", gitlab_steps)])
def test_a_ci_job_signs_a_release_as_it_is_written(
    ci: str, steps: Callable[[dict[str, str]], Iterator[Step]], live: Live, tmp_path: Path
) -> None:
    """Each line is run in a checkout of its own; `verify.sh` takes the release, and refuses it tampered with."""
    place = tmp_path / "checkout"
    shutil.copytree(SAMPLES, place / "samples")
    run("sealmark", "trust", "--output", "trust.json", place=place, variables=live.environment())
    scripts = []
    with identity_of(ci, live, place) as identity:
        for script, variables, shell in steps({"vars.SEALMARK_URL": live.service.url}):
            # No index: what the job installs is here already, or the line fails. No secret but the CI's own.
            known = {"SEALMARK_URL": "", "SEALMARK_TOKEN": "", "PIP_NO_INDEX": "1", **variables, **identity}
            done = run(*shell, script, place=place, variables=live.environment(**known))
            assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
            assert not any(value in done.stdout + done.stderr for value in identity.values())
            scripts.append(script)
    assert any("sealmark sign" in script for script in scripts)
    assert sorted(path.name for path in (place / "dist").iterdir()) == [
        *("SHA256SUMS", "SHA256SUMS.p7s", "SHA256SUMS.tlog-proof"),
        *("greet.sh", "greet.sh.p7s", "greet.sh.tlog-proof"),
    ]
    assert_the_script_verifies_this_and_nothing_else(place, live)


def assert_the_script_verifies_this_and_nothing_else(place: Path, live: Live) -> None:
    run(
        "sealmark",
        "keys",
        "certificate",
        "show",
        "release",
        "--output",
        "ca.pem",
        place=place,
        variables=live.environment(),
    )
    offline = live.environment(SEALMARK_URL="http://127.0.0.1:9", SEALMARK_TOKEN="")

    def verdict(folder: str) -> subprocess.CompletedProcess[str]:
        return run(SAMPLES / "verify.sh", folder, "trust.json", "ca.pem", place=place, variables=offline)

    genuine = verdict("dist")
    assert genuine.returncode == 0, genuine.stderr
    assert genuine.stdout.endswith("dist is as it was signed.\n")
    older = place / "older"
    older.mkdir()
    (older / "greet.sh").write_text("echo a release with a known weakness\n", encoding="utf-8")
    signed = live.environment(SEALMARK_TOKEN=live.token("ci"))
    assert run("sealmark", "sign", "greet.sh", "--key", "release", place=older, variables=signed).returncode == 0
    for name, tamper in TAMPERINGS.items():
        shutil.copytree(place / "dist", place / name)
        tamper(place / name)
        refused = verdict(name)
        assert refused.returncode != 0, name
        assert "as it was signed" not in refused.stdout, name


def _change(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8") + "rm -rf /\n", encoding="utf-8")


def _change_with_its_digest(folder: Path) -> None:
    _change(folder / "greet.sh")
    run("bash", "-c", "sha256sum greet.sh > SHA256SUMS", place=folder, variables={"PATH": "/usr/bin:/bin"})


TAMPERINGS: dict[str, Callable[[Path], object]] = {
    "changed": lambda folder: _change(folder / "greet.sh"),
    "changed-with-its-digest": _change_with_its_digest,
    "without-a-signature": lambda folder: (folder / "greet.sh.p7s").unlink(),
    "without-a-proof": lambda folder: (folder / "greet.sh.tlog-proof").unlink(),
    "proof-of-another": lambda folder: shutil.copy(folder / "SHA256SUMS.tlog-proof", folder / "greet.sh.tlog-proof"),
    "signature-of-another": lambda folder: shutil.copy(folder / "SHA256SUMS.p7s", folder / "greet.sh.p7s"),
    # Each part of an older release is genuine: only the list of this one tells.
    "file-of-an-older-release": lambda folder: shutil.copytree(folder.parent / "older", folder, dirs_exist_ok=True),
    "without-digests": lambda folder: (folder / "SHA256SUMS").write_text(""),
}


def test_the_jobs_name_no_secret_and_pin_what_they_trust() -> None:
    for name in ("github-actions.yml", "gitlab-ci.yml"):
        text = (SAMPLES / name).read_text(encoding="utf-8")
        assert not re.search(r"smk_|sme_|--token\b|secrets\.|SEALMARK_TOKEN", text)
        assert "--trust trust.json" in text
        assert not re.search(r"sealmark trust\b", text)  # what is fetched in the job that signs proves nothing


def test_the_python_verifier_is_short_and_right(live: Live, tmp_path: Path) -> None:
    program = SAMPLES / "verify.py"
    assert len([line for line in program.read_text(encoding="utf-8").splitlines() if line.strip()]) <= 15
    imported = {
        name
        for node in ast.walk(ast.parse(program.read_text()))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert imported == {"sys", "pathlib", "verifier"}
    place = live.copy(tmp_path / "reader")
    shutil.copy(SAMPLES / "greet.sh", place / "greet.sh")
    variables = live.environment(SEALMARK_TOKEN=live.token("ci"))
    for command in (["sign", "greet.sh", "--key", "release"], ["trust", "--output", "trust.json"]):
        assert run("sealmark", *command, place=place, variables=variables).returncode == 0
    call = [ROOT / ".venv" / "bin" / "python", program, "greet.sh", "greet.sh.p7s", "trust.json"]
    done = run(*call, place=place, variables=variables)
    assert (done.returncode, "ECDSA_SHA_256" in done.stdout) == (0, True), done.stderr
    _change(place / "greet.sh")
    done = run(*call, place=place, variables=variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("wrong: ")


def test_an_identity_provider_asks_for_a_token_and_checks_it(live: Live, tmp_path: Path) -> None:
    claims, issuer, audience = SAMPLES / "claims.json", "https://id.shop.example", "https://api.example"

    def ask(*, key: str = "tokens", expected: str = issuer, **variables: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, SAMPLES / "request_token.py", key, claims, "shop", expected, audience]
        known = live.environment(**{"SEALMARK_TOKEN": live.token("idp"), **variables})
        return run(*call, place=tmp_path, variables=known)

    done = ask()
    assert done.returncode == 0, done.stderr
    payload = done.stdout.split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    wanted = json.loads(claims.read_bytes())
    assert {name: found[name] for name in wanted} == wanted
    for refused, reason in (
        (ask(key="release"), "refused: not_found: "),
        (ask(SEALMARK_TOKEN="smk_wrong"), "refused: unauthenticated: "),
        (ask(SEALMARK_URL="http://127.0.0.1:9"), "the service cannot be reached: "),
        (ask(expected="https://other.example"), "the service's token does not verify: "),
    ):
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith(reason), refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_service_provider_is_configured_by_metadata_and_logs_in(live: Live, tmp_path: Path) -> None:
    with live.service.caller() as anyone:
        (tmp_path / "metadata.xml").write_bytes(anyone.content("/issuers/shop/saml/metadata"))
    body: dict[str, Any] = json.loads((SAMPLES / "assertion.json").read_bytes())
    with live.service.caller(live.token("idp")) as provider:
        answer = provider.json("POST", "/v1/keys/sso/assertions", body)
    genuine = base64.b64decode(answer["results"][0]["response"])
    (tmp_path / "response.xml").write_bytes(genuine)
    (tmp_path / "changed.xml").write_bytes(genuine.replace(b"alice@", b"admin@"))
    program = [ROOT / ".venv-saml" / "bin" / "python", "-I", SAMPLES / "service_provider.py"]
    variables = live.environment()
    made = run(
        *program, "settings", SAMPLES / "service-provider.json", "metadata.xml", place=tmp_path, variables=variables
    )
    assert made.returncode == 0, made.stderr
    (tmp_path / "settings.json").write_text(made.stdout)
    settings = json.loads(made.stdout)
    own = json.loads((SAMPLES / "service-provider.json").read_bytes())
    assert settings["idp"]["entityId"] == "https://id.shop.example"
    assert {name: settings[name] for name in ("strict", "sp", "security")} == {
        name: own[name] for name in ("strict", "sp", "security")
    }

    def login(response: str, request_id: str) -> subprocess.CompletedProcess[str]:
        return run(*program, "login", "settings.json", response, request_id, place=tmp_path, variables=variables)

    done = login("response.xml", body["in_response_to"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "name_id": body["subject"],
        "attributes": {"mail": [body["attributes"]["mail"]], "groups": body["attributes"]["groups"]},
    }
    for refused in (login("changed.xml", body["in_response_to"]), login("response.xml", "_another")):
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("refused: ")


def test_the_artifact_runs() -> None:
    done = subprocess.run([SAMPLES / "greet.sh", "you"], capture_output=True, text=True, check=True)
    assert done.stdout == "Hello, you.\n"


def test_the_unit_is_one_and_lets_the_service_stop_in_its_own_time(tmp_path: Path) -> None:
    text = (SAMPLES / "sealmark.service").read_text(encoding="utf-8")
    settings = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))
    assert settings["ExecStart"].split()[1:] == ["serve", "--state", "/var/lib/sealmark", "--bind", "127.0.0.1:8200"]
    assert int(settings["TimeoutStopSec"]) > ServerConfiguration().graceful_timeout
    assert settings["StateDirectoryMode"] == "0700"
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        unit = tmp_path / "sealmark.service"
        unit.write_text(text.replace("/opt/sealmark/bin/sealmark", "/bin/true"))  # it is not installed there
        done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_image_is_made_of_what_there_is() -> None:
    text = (SAMPLES / "Containerfile").read_text(encoding="utf-8")
    for path in re.findall(r"/src/([\w./-]+)", text):
        assert (ROOT / path).exists(), path
    assert "USER 8200" in text
    assert json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0])[0] == "serve"


def test_every_sample_is_explained_and_tested_here() -> None:
    names = {path.name for path in SAMPLES.iterdir()} - {"README.md"}
    explained = set(re.findall(r"\]\(([^)]+)\)", (SAMPLES / "README.md").read_text(encoding="utf-8")))
    assert {name for name in explained if "/" not in name} == names
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in names if name not in text] == []
