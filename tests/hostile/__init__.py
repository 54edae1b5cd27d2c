"""Hostile callers of a running service: `python -m tests.hostile.calls` is the long form, test_hostile.py a short one.

hooks.py runs within schemathesis, in an environment of its own; it and what it imports need the standard library alone.
"""
