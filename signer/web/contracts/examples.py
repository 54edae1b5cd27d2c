"""Values that the examples of several kinds of calls share."""

from __future__ import annotations

from typing import Final

MOMENT: Final = "2026-03-01T09:30:00Z"
KEY_ID: Final = "0b7e5b4e-6b0e-4f0e-9a55-3f7d9a2f6c11"
MULTI_REGION_KEY_ID: Final = "mrk-1234abcd12ab34cd56ef1234567890ab"
KID: Final = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
VERSION: Final = {
    "revision": 1,
    "created_at": MOMENT,
    "created_by": "user/key-admin",
    "reason": "the key was made",
}
DIGEST: Final = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
PEM: Final = "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"
ORIGIN: Final = "sealmark/000000000000/us-east-1/3f2a9c04d1be77a0"
CHECKPOINT: Final = f"{ORIGIN}\n1301\nKbo1r1k…=\n\n— {ORIGIN} 5Zr4AK…\n"
PROOF: Final = f"c2sp.org/tlog-proof@v1\nextra eyJhbGdvcml0aG0iOi…\nindex 1234\nq1Wz2bLx…=\n\n{CHECKPOINT}"
