"""The story of `make demo`, act by act. Exit status 0 only if all is as it should be; nothing is left running."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tools.demo import report, scenario
from tools.demo.judges import (
    ACCEPTED,
    REJECTED,
    CouldNotJudge,
    Joserfc,
    Judge,
    OpensslCms,
    OpensslDgst,
    Published,
    SealmarkVerify,
    Xmlsec1,
)
from tools.service import PROGRAMS, ServiceError, run, running_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.demo.exhibits import Exhibit
    from tools.service import Service

ROOT = Path(__file__).resolve().parents[2]
VERIFIER_PROGRAMS = ROOT / ".venv-verifier" / "bin"


def main() -> int:
    """The whole mission; the exit status."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="sealmark-demo-") as folder:
            wrong = _perform(Path(folder))
    except (ServiceError, CouldNotJudge) as error:
        report.failure(str(error))
        return 1
    if wrong:
        report.failure(f"{wrong} verdicts")
        return 1
    report.success(f"Everything is as it should be. ({time.monotonic() - began:.0f} s)")
    return 0


def _perform(folder: Path) -> int:
    report.step("The verifier's wheel is built and installed alone, in an environment without the service")
    wheel = build_verifier(folder)
    report.fact(f"{wheel.name}; that environment holds {', '.join(installed_packages())}")

    report.step("The ceremony, and the service on a free port")
    with running_service(folder) as service:
        report.fact(f"{service.url}, state in a temporary folder")
        report.step("Two principals enrol, and keys are made in the HSM")
        cast = scenario.enrol_cast(service)
        for key in scenario.make_keys(service):
            token = key["token"]
            where = f"{key['storage']}, {token['manufacturer']} {token['model']}"
            report.fact(f"{key['alias']:<13} {key['spec']:<22} {key['purpose']:<9} {where}")

        report.step(f"role/ci signs {wheel.name} and {scenario.ELF_BINARY}; role/idp issues tokens and assertions")
        exhibits = sign_everything(service, cast, wheel, folder)
        published_folder = folder / "published"
        published_folder.mkdir()
        published = scenario.publish(service, published_folder)
        report.fact(f"published: {scenario.published_summary(published)}")
        secrets = [*cast.tokens(), *service.secrets()]
    refuse_secrets_in(service.log.read_text(encoding="utf-8", errors="replace"), secrets)
    report.step("The service is stopped: from here on there is only what was signed and what was published")

    judges = (SealmarkVerify(VERIFIER_PROGRAMS / "sealmark-verify"), OpensslDgst(), OpensslCms(), Xmlsec1(), Joserfc())
    wrong = _judge_all("What was signed, and who accepts it", exhibits, judges, published, wanted=ACCEPTED)
    return wrong + _judge_all("The same with one byte changed", exhibits, judges, published, wanted=REJECTED)


def sign_everything(service: Service, cast: scenario.Cast, wheel: Path, folder: Path) -> list[Exhibit]:
    """Every exhibit, files first."""
    signed = folder / "signed"
    signed.mkdir()
    return [
        *scenario.sign_files(service, cast.release, wheel, signed),
        *scenario.issue_tokens(service, cast.identity, signed),
        *scenario.issue_assertions(service, cast.identity, signed),
    ]


def refuse_secrets_in(log: str, secrets: Sequence[str]) -> None:
    """Raises: `ServiceError` if the service's log holds a token or a PIN."""
    if any(secret in log for secret in secrets):
        raise ServiceError("the service's log holds a secret")


def build_verifier(folder: Path) -> Path:
    """Builds the wheel of `verifier/` from a copy of it, puts it into `.venv-verifier`, and returns it."""
    source, output = folder / "verifier-source", folder / "dist"
    shutil.copytree(ROOT / "verifier", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = ("--disable-pip-version-check", "--no-input", "--quiet")
    run(PROGRAMS / "pip", "wheel", *pip, "--no-deps", "--no-build-isolation", "--wheel-dir", output, source)
    (wheel,) = output.glob("sealmark_verifier-*.whl")
    options = ("--no-deps", "--no-index", "--force-reinstall")
    run(VERIFIER_PROGRAMS / "pip", "install", *pip, *options, wheel)
    return wheel


def installed_packages() -> list[str]:
    """What the verifier's environment holds. Raises: `ServiceError` if anything of the service is among it."""
    listed = run(VERIFIER_PROGRAMS / "pip", "list", "--disable-pip-version-check", "--format", "freeze").stdout
    names = [line.partition("==")[0].lower() for line in listed.splitlines()]
    strangers = {"sealmark", "flask", "gunicorn", "python-pkcs11", "sqlalchemy"} & set(names)
    if strangers:
        raise ServiceError(f"the verifier's environment holds {sorted(strangers)}")
    return [name for name in names if name not in ("pip", "setuptools")]


def _judge_all(
    title: str, exhibits: Sequence[Exhibit], judges: Sequence[Judge], published: Published, *, wanted: str
) -> int:
    """Every judge on every exhibit that it reads; prints the table and returns how many verdicts are not as wanted."""
    tasks = [(exhibit, judge) for exhibit in exhibits for judge in judges if judge.takes(exhibit)]

    def judged(task: tuple[Exhibit, Judge]) -> str:
        exhibit, judge = task
        return judge.judge(exhibit, exhibit.subject if wanted == ACCEPTED else exhibit.tampered, published)

    with ThreadPoolExecutor(max_workers=4) as pool:
        given = dict(zip([(exhibit, judge.name) for exhibit, judge in tasks], pool.map(judged, tasks), strict=True))
    report.verdicts(title, exhibits, judges, given, wanted)
    return sum(verdict != wanted for verdict in given.values())


if __name__ == "__main__":
    sys.exit(main())
