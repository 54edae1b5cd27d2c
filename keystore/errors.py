"""The keystore's one error tree: each error has a stable `code`, which the HTTP layer maps to a problem.

Drivers' exceptions (pkcs11, SQLAlchemy) are translated into these once, where they are met, with `from exc`.
"""

from __future__ import annotations


class KeystoreError(Exception):
    """Anything the keystore refuses or cannot do. The message never holds a secret."""

    code = "keystore_error"


class HsmUnavailable(KeystoreError):
    """The HSM cannot be reached, or answered with a fault of its own. Trying again later may help."""

    code = "hsm_unavailable"


class HsmFault(KeystoreError):
    """The HSM returned something that is not what was asked for, such as a signature that does not verify."""

    code = "hsm_fault"


class IntegrityFailure(KeystoreError):
    """A sealed row does not bear the seal that the HSM gave it. The message names the row: for the log, never for
    callers."""

    code = "integrity_failure"


class StoreUnavailable(KeystoreError):
    """The database cannot be read or written just now."""

    code = "store_unavailable"


class EpochClosed(StoreUnavailable):
    """Another node took this process for dead and closed what it had open; it must begin another audit epoch."""


class NotFound(KeystoreError):
    """No such row."""

    code = "not_found"


class Conflict(KeystoreError):
    """The name is taken, or somebody else changed the row first."""

    code = "conflict"


class Overtaken(Conflict):
    """Who may do what was changed between a check and the write that depends on it."""


class WrongState(KeystoreError):
    """The key's, version's or principal's state does not allow this."""

    code = "wrong_state"


class Unsupported(KeystoreError):
    """The spec, algorithm or purpose is not in the closed table, or the module lacks it. `field` names the member at
    fault."""

    code = "unsupported"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class LimitExceeded(KeystoreError):
    """The HSM's room for keys of this kind is used up, by the deployment's own limit."""

    code = "limit_exceeded"


class CeremonyError(KeystoreError):
    """A ceremony was refused or could not be finished; the message says what to do."""

    code = "ceremony"


class ConfigurationError(KeystoreError):
    """A setting is missing, unknown, unsafe or contradicts another; the message names it."""

    code = "configuration"


class InvalidMac(KeystoreError):
    """A MAC that is not this key's over this message."""

    code = "invalid_mac"


class Undecipherable(KeystoreError):
    """A ciphertext that this key does not open with this context: one answer, whatever is wrong with it."""

    code = "undecipherable"


class ImportTokenExpired(KeystoreError):
    """The day on which an import token is good is over."""

    code = "import_token_expired"


class InvalidImportToken(KeystoreError):
    """No import token of this key: another one's, changed, or not one at all."""

    code = "invalid_import_token"


class IncorrectKeyMaterial(KeystoreError):
    """Other material than the key's own, or of another kind than the key's spec. Never says what was sent."""

    code = "incorrect_key_material"
