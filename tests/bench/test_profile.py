"""Stacks are folded, named as on any machine, and given to the part of the code that they belong to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lxml import etree

from tools.bench.flames import flame_graph
from tools.bench.profile import Profile, read_stacks

ROOT = Path(__file__).resolve().parents[2]
THREAD = "run (/usr/lib/python3.11/threading.py)"
WAIT = "Condition.wait (/usr/lib/python3.11/threading.py)"
HANDLE = f"handle ({ROOT}/.venv/lib/python3.11/site-packages/gunicorn/workers/gthread.py)"
SIGN = f"Pipeline.sign ({ROOT}/signer/pipeline.py)"
COMMIT = f"Groups.submit ({ROOT}/signer/audit/groups.py)"
FOLDED = f"""\
process 1:"{ROOT}/.venv/bin/sealmark serve --bind 127.0.0.1:1";{THREAD};{HANDLE};{SIGN};{COMMIT};{THREAD} 6
process 2:"{ROOT}/.venv/bin/sealmark serve --bind 127.0.0.1:1";{THREAD};{HANDLE};{SIGN} 3
process 2:"{ROOT}/.venv/bin/sealmark serve --bind 127.0.0.1:1";{THREAD} 1
process 2:"{ROOT}/.venv/bin/sealmark serve --bind 127.0.0.1:1";{THREAD};{WAIT} 90
"""


def test_paths_are_those_of_any_machine_and_processes_are_one() -> None:
    thread, handle = "run (threading.py)", "handle (gunicorn/workers/gthread.py)"
    sign, commit = "Pipeline.sign (signer/pipeline.py)", "Groups.submit (signer/audit/groups.py)"
    assert read_stacks(FOLDED) == Counter(
        {(thread, handle, sign, commit, thread): 6, (thread, handle, sign): 3, (thread,): 1}
    )


def test_a_sample_belongs_to_the_innermost_part_of_our_own_code() -> None:
    stacks = read_stacks(FOLDED)
    profile = Profile("P-256, singly", 100.0, stacks, Counter(list(stacks)[1:2]))
    assert profile.parts().rows == (
        ("signer/audit", "60.0%", "0.0%"),
        ("signer/pipeline.py", "30.0%", "100.0%"),
        ("threading.py", "10.0%", "0.0%"),
    )
    assert profile.functions().rows[0] == ("run (threading.py)", "100.0%", "70.0%")
    assert ("Groups.submit (signer/audit/groups.py)", "60.0%", "0.0%") in profile.functions().rows


def test_a_flame_graph_is_svg_without_script_and_names_escaped() -> None:
    graph = etree.fromstring(flame_graph({("a (x.py)", "<lambda> (y.py)"): 3, ("b (x.py)",): 1}, "A & B").encode())
    titles = [title.text for title in graph.iter("{*}title")]
    assert titles == ["all: 100.0%", "a (x.py): 75.0%", "<lambda> (y.py): 75.0%", "b (x.py): 25.0%"]
    assert not list(graph.iter("{*}script"))
    widths = [float(rect.get("width") or 0) for rect in graph.iter("{*}rect")]
    assert widths[2] == widths[3] == 899.6
