"""Which cosignatures of a checkpoint tlog-scales takes for valid, which is not ours; run by that library's own Python.

Reads a JSON list of {"note": text, "keys": [verifier keys]} and prints a list of the names whose signatures hold. It
imports nothing of Sealmark.
"""

from __future__ import annotations

import json
import logging
import sys

from tlog_scales.signing import Vkey, VkeySet
from tlog_scales.tlog import Checkpoint


def valid(note: str, keys: list[str]) -> list[str]:
    """The names of the keys that have signed."""
    checkpoint = Checkpoint.from_text(note)
    found = VkeySet(*(Vkey.from_string(key) for key in keys)).verify(checkpoint.signatures, checkpoint)
    return sorted(key.name for key, _ in found)


if __name__ == "__main__":
    logging.disable()
    json.dump([valid(**question) for question in json.load(sys.stdin)], sys.stdout)
