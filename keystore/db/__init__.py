"""The database: every table, two engines, and the one migration history. Knows nothing of seals, keys or the HSM."""

from __future__ import annotations

from keystore.db.engine import Database, Prepared, Value
from keystore.db.migration import connect, create_database, open_database, upgrade

__all__ = ["Database", "Prepared", "Value", "connect", "create_database", "open_database", "upgrade"]
