"""Credentials become principals here; one file per kind of credential."""
