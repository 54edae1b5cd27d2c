"""The peer is set up as its documentation says, its audit device writes, and its secrets are nowhere on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.exceptions import InvalidSignature

from tools.bench.load import Measured
from tools.bench.openbao import running_openbao
from tools.bench.targets import prepare
from tools.bench.workloads import BATCHES, SINGLE
from tools.service import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.bench.openbao import OpenBao
    from tools.bench.targets import Target
    from tools.bench.workloads import Workload


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openbao")


@pytest.fixture(scope="module")
def peer(folder: Path) -> Iterator[OpenBao]:
    with running_openbao(folder) as server:
        yield server


def answer(target: Target, number: int = 0) -> bytes:
    """The peer's answer to one of the load's own requests."""
    head, _, body = target.requests()[number].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    url = f"http://{urlsplit(target.server.url).netloc}{first.split(' ')[1]}"
    return httpx.post(url, content=body, headers=headers, trust_env=False).raise_for_status().content


@pytest.mark.parametrize("workload", [SINGLE, BATCHES], ids=lambda workload: str(workload.batch))
def test_each_result_is_checked_with_the_public_key(peer: OpenBao, workload: Workload) -> None:
    target = prepare(peer, workload)
    made = answer(target)
    assert target.check([Measured(answers=1, kept=[(0, made)])]) == workload.batch
    with pytest.raises(InvalidSignature):
        target.check([Measured(answers=1, kept=[(1, made)])])


def test_a_missing_result_or_none_kept_is_no_success(peer: OpenBao) -> None:
    target = prepare(peer, BATCHES)
    made = json.loads(answer(target))
    del made["data"]["batch_results"][-1]
    with pytest.raises(ValueError, match="zip"):
        target.check([Measured(answers=1, kept=[(0, json.dumps(made).encode())])])
    with pytest.raises(ServiceError, match="no answer was kept"):
        target.check([Measured(answers=1)])
    with pytest.raises(ServiceError, match="2 requests failed; the first: HTTP"):
        target.check([Measured(answers=2, failures=2, first_failure="HTTP/1.1 503")])


def test_it_audits_and_keeps_no_secret_on_disk(peer: OpenBao, folder: Path) -> None:
    answer(prepare(peer, SINGLE))
    audited = (folder / "audit.log").read_text()
    assert '"path":"transit/sign/' in audited
    assert peer.token
    for path in folder.rglob("*"):
        if path.is_file():
            assert peer.token.encode() not in path.read_bytes(), path.name


def test_who_asks_may_do_nothing_else(peer: OpenBao) -> None:
    headers = {"Authorization": f"Bearer {peer.token}"}
    made = httpx.post(f"{peer.url}/v1/transit/keys/other", json={}, headers=headers, trust_env=False)
    assert made.status_code == httpx.codes.FORBIDDEN


def test_without_the_program_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"tools/setup\.sh bench"), running_openbao(tmp_path, tmp_path / "bao"):
        pass
