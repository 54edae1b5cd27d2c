"""What is said of a server's processes is what they took, its children's after their end too."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tools.bench import processes

BUSY = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass\n"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-I', '-S', '-c', {BUSY.format(0.1)!r}])\ninput()\n"


def test_processor_time_and_memory_of_a_session() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "print(1, flush=True)\n" + BUSY.format(0.1) + PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        parent.stdout.read(1)
        assert processes.memory(parent.pid) > 2**20
        deadline = time.monotonic() + 30
        while processes.processor_seconds(parent.pid) < 0.19 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert processes.processor_seconds(parent.pid) >= 0.19
        (core, *_) = os.sched_getaffinity(0)
        processes.pin(parent.pid, {core})
        assert os.sched_getaffinity(parent.pid) == {core}
    finally:
        parent.communicate(b"\n")
    assert processes.processor_seconds(parent.pid) == 0.0
    assert processes.memory(parent.pid) == 0
