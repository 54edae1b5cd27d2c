"""Finds the targets: every module `fuzz_*.py` of this package."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

import tests.fuzz


class Target(Protocol):
    """What a target module exposes."""

    NAME: str

    def seeds(self) -> list[bytes]:
        """Valid inputs to begin with."""
        ...

    def one(self, data: bytes) -> None:
        """Reads the data with the parser. Raises only if something is wrong with the parser."""
        ...


def names() -> list[str]:
    """The targets' names, which are those of their modules without `fuzz_`."""
    modules = pkgutil.iter_modules(tests.fuzz.__path__)
    return sorted(module.name.removeprefix("fuzz_") for module in modules if module.name.startswith("fuzz_"))


def load(name: str) -> Target:
    """The target with this name."""
    return cast("Target", importlib.import_module(f"tests.fuzz.fuzz_{name}"))
