"""The one place where a PKCS#11 return value becomes an error of the keystore's own tree."""

from __future__ import annotations

from keystore.errors import HsmUnavailable, KeystoreError, Unsupported
from keystore.hsm.return_values import LACKING, PIN_REFUSED, CryptokiError
from keystore.measures import count


def translate(error: CryptokiError) -> KeystoreError:
    """What to raise instead, `from error`."""
    count(("hsm_errors", error.function, error.name))
    if error.code in PIN_REFUSED:
        return HsmUnavailable(f"the token refuses the PIN ({error}); it is not tried again")
    if error.code in LACKING:
        return Unsupported(f"the HSM module does not support this ({error})", field="spec")
    return HsmUnavailable(f"the HSM failed ({error})")
