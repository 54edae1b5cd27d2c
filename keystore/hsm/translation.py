"""The one place where a PKCS#11 return value becomes an error of the keystore's own tree."""

from __future__ import annotations

from typing import Final

from keystore.errors import HsmUnavailable, KeystoreError, Unsupported
from keystore.hsm.return_values import LACKING, PIN_REFUSED, CryptokiError
from keystore.measures import count

# Where a key is made or taken in, its spec may be one that the module lacks. Anywhere else it was in use already.
_MAKES_KEYS: Final = frozenset({"C_GenerateKey", "C_GenerateKeyPair", "C_CreateObject", "C_WrapKey"})


def translate(error: CryptokiError) -> KeystoreError:
    """What to raise instead, `from error`."""
    count(("hsm_errors", error.function, error.name))
    if error.code in PIN_REFUSED:
        return HsmUnavailable(f"the token refuses the PIN ({error})")
    if error.code in LACKING and error.function in _MAKES_KEYS:
        return Unsupported(f"the HSM module does not support this ({error})", field="spec")
    return HsmUnavailable(f"the HSM failed ({error})")
