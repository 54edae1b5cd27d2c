"""verify.py FILE SIGNATURE TRUST: is the file as it was signed? Needs sealmark-verifier."""

import sys
from pathlib import Path

from verifier import Indeterminate, Rejected, parse_trust, verify_artifact

file, signature, trust = map(Path, sys.argv[1:])
try:
    facts = verify_artifact(file, signature.read_bytes(), parse_trust(trust.read_bytes()))
except Rejected as reason:
    sys.exit(f"wrong: {reason.message}")
except Indeterminate as reason:
    sys.exit(f"cannot tell: {reason.message}")
print(facts.signer, facts.key.algorithm, facts.digests)
