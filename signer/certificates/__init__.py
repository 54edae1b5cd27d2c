"""Certificates of the keys that Sealmark publishes: the built-in issuing CA, and what a chain must be."""
