"""The benchmark's arithmetic: ratios, which of them are figures that were asked for, and which floors do not hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from click.testing import CliRunner

from tools.bench.__main__ import main
from tools.bench.driving import Bare, Seen
from tools.bench.report import Report, Row, loads
from tools.bench.scaling import Scaling
from tools.bench.workloads import BATCHES, RSA, SINGLE, WORKLOADS
from tools.figures.asked import FIGURES

if TYPE_CHECKING:
    from pathlib import Path

OURS = Seen(
    per_second=400.0,
    requests=4000,
    items=4000,
    p50_milliseconds=2.0,
    p99_milliseconds=9.0,
    longest_milliseconds=20.0,
    server_microseconds=2360.0,
    load_microseconds=40.0,
    load_share=0.1,
    others_share=0.0,
    memory=200 * 2**20,
    reconnections=0,
    refused=0,
    results_checked=42,
)
PEER = replace(OURS, per_second=800.0, server_microseconds=1160.0)
BARE = Bare(per_second=1000.0, microseconds=600.0)


def test_rates_are_compared_in_the_same_round() -> None:
    row = Row(RSA, BARE, OURS, PEER, None)
    assert row.figures() == {"rsa-2048-of-bare": 0.4, "rsa-2048-of-openbao": 0.5}
    assert (row.of_bare_by_processor, row.of_peer_by_processor) == (0.25, 0.5)
    assert Row(SINGLE, BARE, OURS, PEER, None).figures() == {"p256-of-openbao": 0.5}


def test_processor_time_of_a_batch_is_that_of_its_items() -> None:
    seen = replace(OURS, items=400_000)
    assert seen.microseconds == 24.0
    assert Row(BATCHES, BARE, seen, PEER, None).of_bare_by_processor == 25.0


def test_tokens_are_compared_with_single_calls() -> None:
    (tokens,) = (each for each in WORKLOADS if each.name == "JWT")
    row = Row(tokens, BARE, replace(OURS, per_second=300.0, server_microseconds=2960.0), None, OURS)
    assert row.figures() == {"jwt-of-single": 0.75}
    assert row.leading == 0.75
    assert row.of_base_by_processor == 0.8


def test_a_floor_that_does_not_hold_is_named() -> None:
    report = Report({}, short=False)
    report.figures = {"p256-of-openbao": (0.41, ""), "jwt-of-single": (0.79, ""), "p99-of-p50": (5.2, "")}
    assert report.missed() == [
        "JWT issuing: 0.79 of the single P-256 call (≥ 0.8)",
        "p99 at 16 clients, the worst of all loads: 5.2 × p50 (≤ 5)",
    ]


def test_the_figures_of_the_loads_are_asked_for() -> None:
    names = {name for load in WORKLOADS for name in (load.of_bare, load.of_peer, load.of_base) if name}
    assert names <= set(FIGURES)
    assert all(load.base is None or load.base in {each.name for each in WORKLOADS} for load in WORKLOADS)


def test_tables_show_both_servers_and_what_they_took() -> None:
    ours, peer, taken = loads([Row(RSA, BARE, OURS, PEER, None)])
    assert ours.rows[0][:9] == ("RSA-2048, singly", "1,000", "400", "0.40", "0.50", "", "0.25", "0.50", "")
    assert peer.rows[0][:3] == ("RSA-2048, singly", "800", "0.80")
    assert taken.rows[0] == ("RSA-2048, singly", "sealmark", "2,360", "40", "0.10", "0.00", "200")
    assert len(taken.rows) == 2


def test_scaling_is_a_part_of_the_bare_loops_own() -> None:
    scaling = Scaling("P-256, singly", bare_one=100, bare_two=200, one=50, taken=1.2, pinned=30, two=60, shared=45)
    assert scaling.free == 0.6
    assert scaling.by_processor == 1.0
    assert scaling.same_clients == 0.75


def test_a_part_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--parts", "loads,speed", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "no part is named 'speed'; there are loads, access, generation, scaling, curve" in result.output
