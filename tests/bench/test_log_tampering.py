"""Fifty attacks on a small log, each found and named; what was left alone is not complained of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystore.configuration import database_at
from keystore.db.snapshot import snapshot
from signer.cli.audit_state import audit_state
from tests.bench.log_attacks import ATTACKS
from tests.bench.log_tampering import _now, attack, set_up
from verifier.log import load_head

if TYPE_CHECKING:
    from tests.bench.log_tampering import Stage

pytestmark = pytest.mark.sqlite_only("the attacks are on an SQLite file")


LEAVES = 1_200
SEED = 5


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return set_up(tmp_path_factory.mktemp("log"), LEAVES, SEED)


@pytest.mark.parametrize("number", range(50))
def test_an_attack_is_detected_and_named(stage: Stage, number: int) -> None:
    report = attack(stage, stage.database, SEED, number)
    assert report.detected, report
    assert report.named_width is not None, report
    assert report.named_width <= 256, report


def test_each_kind_is_among_the_fifty() -> None:
    assert len(ATTACKS) <= 50


def test_after_all_attacks_were_rolled_back_the_log_holds(stage: Stage) -> None:
    head = load_head(stage.head)
    assert head is not None
    with snapshot(database_at(str(stage.database))) as found:
        audit = audit_state(found, heads=[head], now=_now())
    assert audit.findings.shown == []
    assert audit.undecided == []
    assert [log.size for log in audit.logs] == [LEAVES]
