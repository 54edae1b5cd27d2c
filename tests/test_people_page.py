"""The people section of docs/operations/README.md, typed against a running service; break glass meanwhile."""

from __future__ import annotations

import json
import re
import ssl
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from signer.authn.throttle import MOST
from signer.authn.tokens import new_token
from tests.live import ROOT, environment, run_lines
from tools.service import PROGRAMS, run, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.service import Service

PAGE: Final = ROOT / "docs" / "operations" / "README.md"
NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP; to read the machine's own takes long
WORKERS: Final = 2  # of a service as `init` leaves it


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("people")) as running:
        yield running


def lines_of_the_section() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").partition("\n## People\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_what_the_page_says_works_as_it_stands(service: Service, tmp_path: Path) -> None:
    lines = lines_of_the_section()
    assert len(lines) == 11
    told = run_lines(lines, tmp_path, environment(service, SEALMARK_TOKEN=service.token_of("admin")))
    assert "build-host" in told[4]
    assert {path.name for path in tmp_path.iterdir()} == {"nightly.token", "build-host.token"}


def status_of(service: Service, token: str, source: str = "127.0.0.1") -> int:
    header = {"Authorization": f"Bearer {token}"}
    transport = httpx.HTTPTransport(local_address=source, verify=NO_AUTHORITIES)
    with httpx.Client(transport=transport, headers=header) as client:
        return client.get(f"{service.url}/v1/whoami").status_code


def test_break_glass_is_alive_in_every_worker_at_once_and_gone_at_once(service: Service) -> None:
    token = (service.state / "ceremony" / "root.token").read_text(encoding="ascii").strip()
    command = (PROGRAMS / "sealmark", "ceremony", "root")
    run(*command, "enable", "--hours", "1", "--state", service.state)
    assert {status_of(service, token) for _ in range(2 * WORKERS)} == {200}
    run(*command, "disable", "--state", service.state)
    assert {status_of(service, token) for _ in range(2 * WORKERS)} == {401}
    log = service.log.read_text(encoding="utf-8")
    used = [json.loads(line) for line in log.splitlines() if "break_glass_used" in line]
    assert len(used) == 2 * WORKERS
    assert all(line["alarm"] for line in used)
    assert token not in log


def test_guessing_is_stopped_in_every_worker_and_who_works_there_goes_on(service: Service) -> None:
    """Each worker counts for itself: after so many failures in each of them, no guess is looked up any more."""
    admin = service.token_of("admin")
    source = "127.3.0.1"  # from which nothing has failed yet
    assert {status_of(service, admin, source) for _ in range(20 * WORKERS)} == {200}  # known to each of them
    statuses = [status_of(service, new_token(), source) for _ in range(4 * WORKERS * MOST)]
    assert statuses[:MOST] == [401] * MOST
    assert 429 in statuses
    assert statuses.count(401) <= 2 * WORKERS * MOST
    assert status_of(service, admin, source) == 200
