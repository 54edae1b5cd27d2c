"""The database: every table, the engine, and the one migration history. Knows nothing of seals, keys or the HSM."""

from __future__ import annotations

from keystore.db.engine import Database, Prepared, Value
from keystore.db.migration import create_database, open_database

__all__ = ["Database", "Prepared", "Value", "create_database", "open_database"]
