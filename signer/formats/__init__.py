"""The output formats: one module for each, from plain values and a `SigningKey` to the bytes that callers get.

Nothing here knows HTTP, credentials, policy or audit, and nothing here does IO but through the `SigningKey`.
"""
