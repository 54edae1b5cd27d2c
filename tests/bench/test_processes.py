"""What is said of a server's processes is what they took, its children's after their end too."""

from __future__ import annotations

import os
import subprocess
import sys

from tools.bench import processes

BUSY = "import time; end = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
PARENT = f"""{BUSY}
import subprocess, sys
subprocess.run([sys.executable, "-I", "-S", "-c", {BUSY!r}])
print(flush=True)
input()
"""


def test_processor_time_and_memory_of_a_session() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        parent.stdout.read(1)
        # The child has ended: its tenth of a second is in what its parent has outlived.
        assert processes.processor_seconds(parent.pid) >= 0.19
        assert processes.memory(parent.pid) > 2**20
        (core, *_) = os.sched_getaffinity(0)
        processes.pin(parent.pid, {core})
        assert os.sched_getaffinity(parent.pid) == {core}
    finally:
        parent.communicate(b"\n")
    assert processes.processor_seconds(parent.pid) == 0.0
    assert processes.memory(parent.pid) == 0
