"""The other side of `forwarding.c`: the module, compiled, and what a test tells it and reads from it while it runs.

Every process that has loaded the module, the workers of a service too, does as the control file says from its next call
on. For tests alone.
"""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import time
from contextlib import contextmanager
from ctypes import Structure, c_int32, c_uint32, c_uint64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.attacks.raw import FUNCTIONS
from tests.hsm_support import SOFTHSM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE: Final = Path(__file__).with_suffix(".c")
ALWAYS: Final = 0xFFFFFFFF
_PROCESSES: Final = 64
_COMPILER: Final = ("cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")


class Function(Structure):
    """What one PKCS#11 function does and has done; the same layout as in C, where each member is explained."""

    _fields_ = (
        ("calls", c_uint64),
        ("answered", c_uint64),
        ("code", c_uint32),
        ("times", c_uint32),
        ("skip", c_uint32),
        ("delay", c_uint32),
        ("catch", c_uint32),
        ("held", c_uint32),
        ("held_pid", c_uint32),
        ("waiting", c_uint32),
        ("waiting_pid", c_uint32),
        ("held_mechanism", c_uint32),
    )


class _Process(Structure):
    _fields_ = (("pid", c_int32), ("sessions", c_uint32))


class _Control(Structure):
    _fields_ = (
        ("restarts", c_uint32),
        ("away", c_uint32),
        ("drops", c_uint32),
        ("most_sessions", c_uint32),
        ("delay", c_uint32),
        ("token_flags", c_uint32),
        ("processes", _Process * _PROCESSES),
        ("functions", Function * len(FUNCTIONS)),
    )


class Control:
    """An HSM that can be restarted, taken out, slowed down, and told what each of its functions answers."""

    def __init__(self, path: Path) -> None:
        size = ctypes.sizeof(_Control)
        path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self._control = _Control.from_buffer(self._memory)

    def function(self, name: str) -> Function:
        function: Function = self._control.functions[list(FUNCTIONS).index(name)]
        return function

    def calls(self, name: str) -> int:
        return int(self.function(name).calls)

    def answer(self, name: str, code: int, times: int = ALWAYS, *, skip: int = 0) -> None:
        """`times` calls return the code, after `skip` that are forwarded. Code 0: they are all forwarded again."""
        function = self.function(name)
        function.times = 0
        function.code, function.skip = code, skip
        function.times = times if code else 0

    def catch(self, name: str, calls: int = 1, *, pid: int = 0, mechanism: int = 0) -> None:
        """The next calls (of one process, if its number is given; of one mechanism, for C_SignInit) do not return until
        `release`."""
        function = self.function(name)
        function.held_pid, function.held_mechanism, function.held, function.catch = pid, mechanism, 1, calls

    def release(self, name: str) -> None:
        """Ends a hang."""
        function = self.function(name)
        function.catch = function.held = 0

    def restart(self) -> None:
        """The HSM was killed and came back: whoever was connected has DEVICE_ERROR until it finalises the module."""
        self._control.restarts += 1

    def drop_sessions(self) -> None:
        """The HSM closes every session of every process, and with the last one its login."""
        self._control.drops += 1

    def take_out(self, *, away: bool = True) -> None:
        """Takes the token out of its slot, or puts it back."""
        self._control.away = away

    def limit_sessions(self, most: int) -> None:
        """Of all processes together; 0 for no limit."""
        self._control.most_sessions = most

    def slow_down(self, seconds: float, name: str | None = None) -> None:
        """Each call of the function, or of every function, takes so much longer."""
        if name is None:
            self._control.delay = int(seconds * 1e6)
        else:
            self.function(name).delay = int(seconds * 1e6)

    def flag_token(self, flags: int) -> None:
        """Adds flags to those that the token has (CKF_..., PKCS#11 v2.40 base specification 3.2)."""
        self._control.token_flags = flags

    def sessions(self) -> int:
        """How many the living processes have open."""
        return sum(process.sessions for process in self._control.processes if Path(f"/proc/{process.pid}").exists())

    def heal(self) -> None:
        """Ends every fault; the counts stay, and the limit of sessions."""
        for function in self._control.functions:
            function.times = function.skip = function.delay = function.catch = function.held = 0
        self._control.away = self._control.delay = self._control.token_flags = 0


def until(condition: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    """Waits for something that must come. Raises: `AssertionError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(0.002)


@cache
def compiled(folder: Path) -> Path:
    """The module as a shared object in that folder, made once."""
    made = folder / "forwarding.so"
    done = subprocess.run(
        [*_COMPILER, "-o", str(made), str(SOURCE), "-ldl", "-lpthread"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{SOURCE.name} does not compile (tools/setup.sh faults installs gcc):\n{done.stderr}"
    return made


@contextmanager
def forwarding(folder: Path, real: str = SOFTHSM) -> Iterator[tuple[Path, Control]]:
    """(module, control) for the processes that are started within the block."""
    control = Control(folder / "forwarding.control")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FORWARDED_MODULE", real)
        environment.setenv("FORWARDED_CONTROL", str(folder / "forwarding.control"))
        yield compiled(folder), control
