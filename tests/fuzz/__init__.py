"""Fuzzing of parsers: `python -m tests.fuzz` runs atheris, test_fuzz.py a short form of the verifier's in every run.

A target is a module `fuzz_*.py` here with `NAME`, `seeds()` (valid inputs) and `one(data)`, which raises nothing: what
the parsed interface promises to raise is caught there, and anything else is a finding.
"""
