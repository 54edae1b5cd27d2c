"""Settings for every test. Fixtures live beside the tests that use them; warnings are errors by pyproject.toml."""

from __future__ import annotations

import os

# A SoftHSM configuration of the person running the tests must never be touched: each test names its own.
os.environ.pop("SOFTHSM2_CONF", None)
for name in ("SEALMARK_URL", "SEALMARK_TOKEN", "SEALMARK_STATE"):
    os.environ.pop(name, None)
