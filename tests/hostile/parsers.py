"""Every parser of the service as a target for what is malformed: one table, each with valid inputs to begin with.

`run` gives the parser octets. What the parser promises to raise is in `refusals`; anything else, and anything that
takes long, is a finding. `make fuzz` runs atheris over these as over the verifier's own (tests/fuzz), test_parsers.py a
short form without it.
"""

from __future__ import annotations

from typing import Final

from tests.hostile import (
    parsers_of_bodies,
    parsers_of_callers,
    parsers_of_certificates,
    parsers_of_files,
    parsers_of_http,
)

_MODULES: Final = (
    parsers_of_http,
    parsers_of_bodies,
    parsers_of_callers,
    parsers_of_certificates,
    parsers_of_files,
)
PARSERS: Final = {parser.name: parser for module in _MODULES for parser in module.PARSERS}
