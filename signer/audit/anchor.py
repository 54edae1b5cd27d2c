"""What the log needs of the HSM: its key, and the head that is kept there."""

from __future__ import annotations

from typing import Protocol


class KeptHead(Protocol):
    """The head that the HSM keeps."""

    @property
    def origin(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def root(self) -> bytes: ...


class Anchor(Protocol):
    """The log's key, and the head that is kept outside the database: `keystore.log_anchor.LogAnchor`."""

    @property
    def origin(self) -> str: ...
    @property
    def public_key(self) -> bytes: ...
    def sign(self, text: bytes) -> bytes: ...
    def kept_head(self) -> KeptHead | None: ...
    def keep_head(self, origin: str, size: int, root: bytes) -> None: ...
