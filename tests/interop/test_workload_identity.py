"""A job signs with no static secret: the whole flow, with the programs as a job runs them, against a running service.

The issuer is a real one on this machine, whose keys rotate in the middle; the token comes as GitHub, GitLab and a
cluster hand it out.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.live import environment
from tests.oidc import JOBS_SECRET, LocalIssuer, claims, new_key, signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live import Live

ADMIN: Final = ("--token-file", ".sealmark/admin.token")
NOTHING: Final = {"SEALMARK_TOKEN": "", "HOME": "/nonexistent"}


class Job:
    """A checkout, the service's address and whatever the CI sets: nothing else."""

    def __init__(self, live: Live, place: Path, issuer: LocalIssuer) -> None:
        self.live, self.place, self.issuer = live, place, issuer
        self.said: list[str] = []

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        variables = environment(self.live.service, **NOTHING, **variables)
        done = subprocess.run(command, cwd=self.place, env=variables, capture_output=True, text=True, check=False)
        self.said.append(done.stdout + done.stderr)
        return done

    def sealmark(self, *arguments: str, **variables: str) -> str:
        done = self.run("sealmark", *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str, **variables: str) -> str:
        done = self.run("sealmark", *arguments, **variables)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr

    def github(self) -> dict[str, str]:
        """What GitHub sets in a job that has `id-token: write`."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.issuer.url}/actions?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": JOBS_SECRET,
        }

    def verified(self, name: str) -> None:
        """By a stock tool that has the CA's certificate."""
        command = f"openssl cms -verify -binary -inform DER -in {name}.p7s -content {name} -CAfile ca.pem -purpose any"
        done = self.run("bash", "-c", command)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def job(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    place = live.copy(tmp_path_factory.mktemp("job") / "checkout")
    with LocalIssuer() as issuer:
        job = Job(live, place, issuer)
        conditions = ["--condition", "repository=octo/app", "--condition", "ref=refs/heads/main"]
        made = ["trusted-issuers", "create", "local", "--issuer-url", issuer.url, *conditions, "--role", "role/ci"]
        job.sealmark(*ADMIN, *made)
        for name in ("a.txt", "b.txt", "c.txt"):
            (place / name).write_text(f"{name} of this release\n", encoding="utf-8")
        yield job


def test_a_job_signs_while_its_issuers_keys_rotate(job: Job) -> None:
    job.sealmark("sign", "a.txt", "--key", "release", **job.github())
    job.issuer.rotate("key-2")
    job.sealmark("sign", "b.txt", "--key", "release", **job.github())
    stranger = signed(new_key("key-2"), claims(job.issuer.url, aud=job.live.service.url))
    assert "unauthenticated" in job.refused("sign", "c.txt", "--key", "release", SEALMARK_OIDC_TOKEN=stranger)
    assert not (job.place / "c.txt.p7s").exists()
    job.sealmark("keys", "certificate", "show", "release", "--output", "ca.pem")
    for name in ("a.txt", "b.txt"):
        job.verified(name)
    (job.place / "b.txt").write_text("another release\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="content verify error"):
        job.verified("b.txt")


def test_a_token_is_taken_once_and_a_session_serves_many_commands(job: Job) -> None:
    token = job.issuer.token(aud=job.live.service.url)
    (job.place / "projected").write_text(f"{token}\n", encoding="ascii")  # as a cluster writes it: others may read it
    assert "role/ci" in job.sealmark("login", "--oidc-token-file", "projected", "--token-out", "session.token")
    session = (job.place / "session.token").read_text(encoding="ascii").strip()
    assert (job.place / "session.token").stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        assert "role/ci" in job.sealmark("--token-file", "session.token", "whoami")
    again = job.refused("whoami", SEALMARK_OIDC_TOKEN_FILE="projected")
    assert "taken once" in again
    assert "sealmark login" in again
    assert "exists" in job.refused("login", "--github", "--token-out", "session.token", **job.github())
    log = job.live.service.log.read_text(encoding="utf-8", errors="replace")
    for text in (*job.said, log):
        assert session not in text
        assert token.split(".")[2] not in text
        assert JOBS_SECRET not in text


def test_another_job_gets_nothing_and_deletion_ends_what_there_is(job: Job) -> None:
    audience = job.live.service.url
    for change in ({"repository": "octo/app-evil"}, {"ref": "refs/pull/7/merge"}, {"aud": "https://other.example"}):
        token = job.issuer.token(**{"aud": audience, **change})
        assert "unauthenticated" in job.refused("whoami", SEALMARK_OIDC_TOKEN=token)
    job.sealmark("login", "--github", "--token-out", "last.token", **job.github())
    job.sealmark("--token-file", "last.token", "whoami")
    job.sealmark(*ADMIN, "trusted-issuers", "delete", "local", "--yes")
    assert "unauthenticated" in job.refused("--token-file", "last.token", "whoami")
    assert "unauthenticated" in job.refused("whoami", **job.github())
