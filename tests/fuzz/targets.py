"""Finds the targets: every module `fuzz_*.py` of this package for the verifier, tests/hostile/parsers.py for the
service, whose names begin with `service-`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

import tests.fuzz

SERVICE: Final = "service-"


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
    """The names of the verifier's targets, which are those of their modules without `fuzz_`."""
    modules = pkgutil.iter_modules(tests.fuzz.__path__)
    return sorted(module.name.removeprefix("fuzz_") for module in modules if module.name.startswith("fuzz_"))


def service_names() -> list[str]:
    """The names of the service's parsers."""
    from tests.hostile.parsers import PARSERS

    return sorted(f"{SERVICE}{name}" for name in PARSERS)


@dataclass(frozen=True)
class _OfService:
    NAME: str
    seeds: Callable[[], list[bytes]]
    one: Callable[[bytes], None]


def load(name: str) -> Target:
    """The target with this name."""
    if name.startswith(SERVICE):
        from tests.hostile.parsers import PARSERS

        parser = PARSERS.get(name.removeprefix(SERVICE))
        if parser is None:
            raise SystemExit(f"{name} is no target: {', '.join((*names(), *service_names()))}")
        return cast("Target", _OfService(name, parser.seeds, parser.run))
    if name not in names():
        raise SystemExit(f"{name} is no target: {', '.join((*names(), *service_names()))}")
    return cast("Target", importlib.import_module(f"tests.fuzz.fuzz_{name}"))
