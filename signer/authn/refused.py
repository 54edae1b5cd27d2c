"""Why a credential was not taken: for the log alone. Callers get one answer for everything."""

from __future__ import annotations


class Refused(Exception):
    """The reason, without a secret. `signer.authn.authenticator` logs it and answers `unauthenticated`."""
