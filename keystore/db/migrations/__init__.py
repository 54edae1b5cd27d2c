"""The history of the schema: one file per step under `versions`, run by `keystore.db.migration`."""
