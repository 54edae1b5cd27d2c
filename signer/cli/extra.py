"""The server's parts, which `init`, `serve`, `ceremony` and `witness serve` alone need: imported when called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from signer.cli.errors import CommandFailed


@contextlib.contextmanager
def server_parts(extra: str = "server") -> Iterator[None]:
    """Put round the imports of such a command: a library that is not there becomes an advice, which names the extra.

    Raises: CommandFailed (missing_extra).
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        raise CommandFailed(
            f"this command needs the service's libraries ({exc.name} is missing): pip install 'sealmark[{extra}]'",
            code="missing_extra",
        ) from exc
