"""The domain, link and integrity keys as rows: each wrapped by the region key, so that another HSM can have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.errors import CeremonyError
from keystore.hierarchy import WrappedRoot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystore.db.engine import Value
    from keystore.sealing import SealedRow

TABLE: Final = "wrapped_roots"
ACTIVE: Final = "active"
DESTROYED: Final = "destroyed"  # the token object is gone, and so is the blob


def root_values(root: WrappedRoot) -> dict[str, Value]:
    """The columns of a root that was just made."""
    name, version = root.domain or (None, None)
    return {
        "kind": "domain" if root.domain is not None else "integrity" if root.link is None else "link",
        "domain": name,
        "version": version,
        "token_label": root.label,
        "wrapped": root.wrapped,
        "state": ACTIVE,
    }


def living_roots(rows: Iterable[SealedRow]) -> list[WrappedRoot]:
    """The roots that are not destroyed."""
    return [WrappedRoot(row.text("token_label"), row.octets("wrapped")) for row in rows if row.text("state") == ACTIVE]


def unchecked_roots(rows: Iterable[tuple[Value, Value]]) -> list[WrappedRoot]:
    """Roots from (label, blob) of rows whose seals cannot be checked before the integrity key is restored.

    A blob that was changed does not unwrap. Raises: `CeremonyError` for what is not a root at all.
    """
    roots = []
    for label, wrapped in rows:
        if not isinstance(label, str) or not isinstance(wrapped, bytes):
            raise CeremonyError("the database's wrapped_roots are not of the right types")
        roots.append(WrappedRoot(label, wrapped))
    return roots
