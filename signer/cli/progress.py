"""How far a long piece of work is: a bar on a terminal, a line for each tenth where the output goes into a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from signer.cli.output import console, note

_PARTS = 10
Told = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


@contextmanager
def progress_shown(words: dict[str, str]) -> Iterator[Told]:
    """Shows what it is told on standard error; `words` say what each piece of work is called."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield _Lines(words)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(words[what], total=None)
            bar.update(tasks[what], completed=done, total=total)

        yield told


class _Lines:
    """Lines for a log."""

    def __init__(self, words: dict[str, str]) -> None:
        self._words = words
        self._seen: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        part = _PARTS if done >= total else done * _PARTS // total
        if part > self._seen.get(what, 0):
            self._seen[what] = part
            note(f"{self._words[what]}: {done} of {total}")
