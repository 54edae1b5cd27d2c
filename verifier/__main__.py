"""`python -m verifier` is `sealmark-verify`."""

from __future__ import annotations

from verifier.command import main

main()
