"""Counts and times of one process: how often, and how long. Cheap enough for the hottest path, and without a lock.

Each thread has figures of its own, which nobody else changes; who reads them adds them up, and takes over those of
threads that have ended. No figure holds more than a name and short labels from closed lists: nothing of a caller, a
key's material or a text.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

# Upper bounds of the classes of a duration, seconds; what took longer is in a last class of its own.
BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

Name = tuple[str, ...]  # a family of figures, and its labels' values in the family's order


@dataclass(slots=True)
class Figures:
    """Counts, and durations: how many in each class of `BOUNDS`, in one class above, and last the sum in seconds."""

    counts: dict[Name, int] = field(default_factory=dict)
    times: dict[Name, list[float]] = field(default_factory=dict)

    def add(self, counts: Mapping[Name, int], times: Mapping[Name, Sequence[float]]) -> None:
        """Adds other figures to these."""
        for name, number in counts.items():
            self.counts[name] = self.counts.get(name, 0) + number
        for name, classes in times.items():
            known = self.times.get(name)
            self.times[name] = list(classes) if known is None else [a + b for a, b in zip(known, classes, strict=True)]


class Measures:
    """The figures of one process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._guard = threading.Lock()
        self._ended = Figures()
        self._living: list[tuple[threading.Thread, Figures]] = []

    def count(self, name: Name, by: int = 1) -> None:
        """One more of these, or several."""
        try:
            counts = self._local.counts
        except AttributeError:
            counts = self._begin().counts
        counts[name] = counts.get(name, 0) + by

    def observe(self, name: Name, seconds: float) -> None:
        """Something took so long."""
        try:
            times = self._local.times
        except AttributeError:
            times = self._begin().times
        classes = times.get(name)
        if classes is None:
            classes = times[name] = [0] * (len(BOUNDS) + 1) + [0.0]
        classes[bisect_left(BOUNDS, seconds)] += 1
        classes[-1] += seconds

    def total(self) -> Figures:
        """All figures so far, of every thread."""
        with self._guard:
            for thread, figures in self._living:
                if not thread.is_alive():
                    self._ended.add(figures.counts, figures.times)
            self._living = [(thread, figures) for thread, figures in self._living if thread.is_alive()]
            sum_of_all = Figures()
            sum_of_all.add(self._ended.counts, self._ended.times)
            for _, figures in self._living:
                # Copies: its thread goes on meanwhile. A copy of a dictionary is made in one step.
                sum_of_all.add(figures.counts.copy(), {name: list(of) for name, of in figures.times.copy().items()})
            return sum_of_all

    def _begin(self) -> Figures:
        """This thread's first figure."""
        figures = Figures()
        self._local.counts, self._local.times = figures.counts, figures.times
        with self._guard:
            self._living.append((threading.current_thread(), figures))
        return figures


class Timed:
    """A block whose time is observed, however it ends."""

    __slots__ = ("_name", "_since")

    def __init__(self, name: Name) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._since = perf_counter()

    def __exit__(self, *_: object) -> None:
        MEASURES.observe(self._name, perf_counter() - self._since)


MEASURES: Final = Measures()  # of this process
# What is so at the moment of asking, such as how many sessions are free: whoever has it says here how it is found out.
GAUGES: Final[dict[Name, Callable[[], float]]] = {}
count = MEASURES.count
observe = MEASURES.observe
