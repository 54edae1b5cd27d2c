"""docs/workload-identity.md as it is written: each recipe's commands and its job, with an issuer on this machine.

GitHub and GitLab are elsewhere, so once the administrator's command has run as it stands, the trusted issuer's address
is changed to that of the one here. The cluster's keys are pinned, so nothing of that recipe is changed.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.live import ROOT, blocks, run_lines, shell_lines
from tests.oidc import JOBS_SECRET, LocalIssuer, claims, key_set, new_key, signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live import Live

PAGE: Final = ROOT / "docs" / "workload-identity.md"
CLUSTER: Final = "https://kubernetes.default.svc.cluster.local"


@pytest.fixture
def place(live: Live, tmp_path: Path) -> Path:
    folder = live.copy(tmp_path / "reader")
    (folder / "dist").mkdir()
    for name in ("app.txt", "notes.txt"):
        (folder / "dist" / name).write_text(f"{name}\n", encoding="utf-8")
    return folder


def line_of(provider: str) -> str:
    (line,) = [line for line in shell_lines(PAGE) if f"--{provider} " in line]
    return line


def job_of(marker: str) -> Any:
    (text,) = [text for text in blocks(PAGE, "yaml") if marker in text]
    return yaml.safe_load(text)


@pytest.fixture
def trusted(live: Live, place: Path) -> Iterator[LocalIssuer]:
    """An issuer here, in place of the two that are elsewhere; trusted no more at the end."""
    with LocalIssuer() as issuer:
        yield issuer
        for name in ("github", "gitlab", "cluster"):
            administer(live, place, "delete", name, "--yes", code=None)


def administer(live: Live, place: Path, *arguments: str, code: int | None = 0) -> None:
    command = ["sealmark", "--token-file", ".sealmark/admin.token", "trusted-issuers", *arguments]
    done = subprocess.run(command, cwd=place, env=live.environment(), capture_output=True, text=True, check=False)
    assert code is None or done.returncode == code, done.stderr


def run_job(live: Live, place: Path, lines: list[str], **variables: str) -> None:
    """No index: what the job installs is here already. Its URL is the service's of this test."""
    ours = {"SEALMARK_TOKEN": "", "PIP_NO_INDEX": "1", "SEALMARK_OIDC_AUDIENCE": live.service.url, **variables}
    run_lines(lines, place, live.environment(**ours))
    assert sorted(path.name for path in (place / "dist").iterdir()) == [
        *("app.txt", "app.txt.p7s", "app.txt.tlog-proof"),
        *("notes.txt", "notes.txt.p7s", "notes.txt.tlog-proof"),
    ]


def refused(live: Live, place: Path, **variables: str) -> None:
    known = live.environment(SEALMARK_TOKEN="", **variables)
    done = subprocess.run(["sealmark", "whoami"], cwd=place, env=known, capture_output=True, text=True, check=False)
    assert (done.returncode, "unauthenticated" in done.stderr) == (1, True), done.stderr


def test_the_recipe_for_github(live: Live, place: Path, trusted: LocalIssuer) -> None:
    run_lines([line_of("github")], place, live.environment())
    administer(live, place, "update", "github", "--issuer-url", trusted.url, "--algorithm", "ES256")
    workflow = job_of("ubuntu-latest")
    assert workflow["permissions"]["id-token"] == "write"
    (job,) = workflow["jobs"].values()
    assert set(job["env"]) == {"SEALMARK_URL"}
    given = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{trusted.url}/actions",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": JOBS_SECRET,
    }
    run_job(live, place, [step["run"] for step in job["steps"] if "run" in step], **given)
    elsewhere = trusted.token(aud=live.service.url, environment=None)
    refused(live, place, SEALMARK_OIDC_TOKEN=elsewhere)


def gitlab_claims(**changes: Any) -> dict[str, Any]:
    """Those of GitLab's documentation, "ID token payload", of what matters here."""
    usual = {
        "sub": "project_path:shop/app:ref_type:tag:ref:v1.0.0",
        "project_path": "shop/app",
        "ref": "v1.0.0",
        "ref_path": "refs/tags/v1.0.0",
        "ref_protected": "true",
        "repository": None,
    }
    return usual | changes


def test_the_recipe_for_gitlab(live: Live, place: Path, trusted: LocalIssuer) -> None:
    run_lines([line_of("gitlab")], place, live.environment())
    administer(live, place, "update", "gitlab", "--issuer-url", trusted.url, "--algorithm", "ES256")
    job = job_of("id_tokens")["sign"]
    (variable,) = job["id_tokens"]
    token = trusted.token(aud=live.service.url, **gitlab_claims())
    run_job(live, place, [*job["before_script"], *job["script"]], **{variable: token})
    unprotected = trusted.token(aud=live.service.url, **gitlab_claims(ref_protected="false"))
    refused(live, place, **{variable: unprotected})


def test_the_recipe_for_kubernetes(live: Live, place: Path, trusted: LocalIssuer) -> None:
    key = new_key("cluster-1", "RSA")
    (place / "jwks.json").write_text(json.dumps(key_set(key)), encoding="ascii")
    run_lines([line_of("kubernetes")], place, live.environment())
    (pod,) = [job_of("kind: Pod")["spec"]]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["SEALMARK_OIDC_TOKEN_FILE"] == f"{container['volumeMounts'][0]['mountPath']}/token"
    assert volume["projected"]["sources"][0]["serviceAccountToken"]["audience"] == variables["SEALMARK_URL"]

    def token(account: str) -> str:
        pods = {"namespace": "ci", "serviceaccount": {"name": account}}
        subject = f"system:serviceaccount:ci:{account}"
        payload = claims(CLUSTER, aud=[live.service.url], sub=subject, **{"kubernetes.io": pods, "jti": None})
        return signed(key, payload, typ=None)

    projected = place / "projected"
    projected.write_text(token("signer"), encoding="ascii")
    assert (container["command"], len(container["args"])) == (["bash", "-c"], 1)
    run_job(live, place, container["args"], SEALMARK_OIDC_TOKEN_FILE=str(projected))
    projected.write_text(token("signer-evil"), encoding="ascii")
    refused(live, place, SEALMARK_OIDC_TOKEN_FILE=str(projected))
    assert trusted.asked == []


def test_the_page_says_what_the_service_says() -> None:
    """Every reason that the log can give stands in the page's table, and no other."""
    text = PAGE.read_text(encoding="utf-8")
    listed = {code for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for code in re.findall("`(.*?)`", row)}
    source = "".join(
        (ROOT / "signer" / "authn" / f"{name}.py").read_text(encoding="utf-8")
        for name in ("assertions", "exchange", "key_sets")
    )
    given = set(re.findall(r'(?:Refused|NoKey)\(\s*"([a-z_]+)"', source))
    assert listed - {"code"} <= given
    # What an honest workload does not meet: a token that is none, or that was touched.
    assert given - listed == {"malformed", "wrong_type", "signature_invalid", "claims_too_long", "ambiguous_kid"}
