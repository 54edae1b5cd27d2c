"""The service's own parts, which `init`, `serve` and `ceremony` alone need: imported when called, or explained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from signer.cli.errors import CommandFailed


@contextlib.contextmanager
def server_parts() -> Iterator[None]:
    """Put round the imports of such a command: a library that is not there becomes an advice.

    Raises: CommandFailed (missing_extra).
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        raise CommandFailed(
            f"this command needs the service's libraries ({exc.name} is missing): pip install 'sealmark[server]'",
            code="missing_extra",
        ) from exc
