"""Many callers inside the module, or one that finalises it, never both: finalising under a running call crashes."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keystore.errors import HsmUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_PATIENCE: Final = 30.0  # seconds until all have left; an RSA-4096 generation takes a few
_TURN: Final = 2.0  # seconds until the module is begun anew, which takes milliseconds


class Gate:
    """Enter it, as a context manager, for ordinary calls; `exclusive()` waits until all have left and lets nobody in.

    Not re-entrant. Raises: `HsmUnavailable` after 2 seconds without a turn, after 30 to have it alone.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._condition:
            if self._closed and not self._condition.wait_for(self._is_open, _TURN):
                raise HsmUnavailable("the HSM module is being initialised for too long")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._inside -= 1
            if self._closed and not self._inside:
                self._condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._condition:
            if not self._condition.wait_for(self._is_open, _PATIENCE):
                raise HsmUnavailable("the HSM module is being initialised for too long")
            self._closed = True
            if not self._condition.wait_for(self._is_empty, _PATIENCE):
                self._closed = False
                self._condition.notify_all()
                raise HsmUnavailable("a call into the HSM module does not return")
        try:
            yield
        finally:
            with self._condition:
                self._closed = False
                self._condition.notify_all()

    def _is_open(self) -> bool:
        return not self._closed

    def _is_empty(self) -> bool:
        return not self._inside
