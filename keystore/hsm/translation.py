"""The one place where a PKCS#11 return value becomes an error of the keystore's own tree."""

from __future__ import annotations

from typing import Final

from keystore.errors import HsmUnavailable, KeystoreError, Unsupported
from keystore.hsm.return_values import LACKING, PIN_REFUSED, CryptokiError


# What the service needs of any module: that it is lacking is no mistake of a caller's.
_OWN: Final = frozenset(
    {"C_OpenSession", "C_Login", "C_FindObjects", "C_GetAttributeValue", "C_UnwrapKey", "C_DestroyObject"}
)


def translate(error: CryptokiError) -> KeystoreError:
    """What to raise instead, `from error`."""
    if error.code in PIN_REFUSED:
        return HsmUnavailable(f"the token refuses the PIN ({error})")
    if error.code in LACKING and error.function not in _OWN:
        return Unsupported(f"the HSM module does not support this ({error})", field="spec")
    return HsmUnavailable(f"the HSM failed ({error})")
