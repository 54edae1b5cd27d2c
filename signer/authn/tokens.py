"""The form of bearer tokens and enrolment codes, and what is stored of them.

A secret is 256 random bits. What is stored is one hash that finds the row and another, independent one that is compared
in constant time; neither tells anything of the secret, which is why no slow password hash is needed.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

TOKEN_PREFIX = "smk_"  # lets scanners of leaked secrets recognise one
CODE_PREFIX = "sme_"
SESSION_PREFIX = "smt_"  # of temporary credentials
SHORT = 12
_SECRET: Final = re.compile(r"(smk|sme|smt)_[A-Za-z0-9_-]{20,}")


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """What the database holds: `id` finds it, `digest` (32 bytes) is compared."""

    id: str
    digest: bytes = field(repr=False)


def short_id(credential_id: str) -> str:
    """How a credential is named in lists and records: 12 hex digits of its id, which tell nothing of the secret."""
    return credential_id[:SHORT]


def new_token() -> str:
    """A fresh bearer token, 47 characters."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def new_enrolment_code() -> str:
    """A fresh enrolment code, 47 characters."""
    return CODE_PREFIX + secrets.token_urlsafe(32)


def new_session_token() -> str:
    """A fresh session token of temporary credentials, 47 characters."""
    return SESSION_PREFIX + secrets.token_urlsafe(32)


def new_access_key_id(*, temporary: bool) -> str:
    """A fresh id of an access key, 20 characters of the form of AWS's: no secret."""
    return ("ASIA" if temporary else "AKIA") + base64.b32encode(secrets.token_bytes(10)).decode("ascii")


def new_secret_access_key() -> str:
    """A fresh secret of an access key: 240 random bits in 40 characters, as AWS's are."""
    return base64.b64encode(secrets.token_bytes(30)).decode("ascii")


def blanked(text: str) -> str:
    """The text without any token or code: for what strangers wrote and others read, wherever they pasted one."""
    return _SECRET.sub(r"\1_[blanked]", text) if "sm" in text else text


def stored_form(secret: str) -> StoredSecret:
    """What is kept of a token or a code."""
    raw = secret.encode()
    return StoredSecret(
        hashlib.sha256(b"sealmark/secret-id/v1\0" + raw).hexdigest()[:32],
        hashlib.sha256(b"sealmark/secret/v1\0" + raw).digest(),
    )
