"""RSAES-OAEP's decoding (RFC 8017 section 7.1.2 step 3), by OpenSSL's own constant-time function, called by ctypes.

The HSM does the private operation alone (CKM_RSA_X_509): SoftHSM 2.6.1 has OAEP for SHA-1 only. Whatever tells which
check of the padding failed, by a word or by a microsecond, opens every ciphertext (Manger, CRYPTO 2001); so nothing of
the encoded message is looked at here. ADR 0033 says what else was considered. It is the libcrypto that this Python
itself uses for hashing.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import c_char, c_char_p, c_int, c_void_p
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.ciphertexts import UNDECIPHERABLE
from keystore.errors import Undecipherable, Unsupported

if TYPE_CHECKING:
    from keystore.api import BackingKey, HardwareToken

_CHECK: Final = "RSA_padding_check_PKCS1_OAEP_mgf1"
_DIGESTS: Final = MappingProxyType({"sha1": "EVP_sha1", "sha256": "EVP_sha256"})


def decrypt_oaep(token: HardwareToken, backing: BackingKey, hash_name: str, ciphertext: bytes) -> bytes:
    """RSAES-OAEP-DECRYPT (RFC 8017 section 7.1.2) of a ciphertext as long as the modulus; the key's use is `decrypt`.

    Raises: `Undecipherable`, the same for every fault; `HsmUnavailable`, `Unsupported`.
    """
    return unpad(token.decrypt_raw(backing, ciphertext), hash_name)


def unpad(encoded: bytes, hash_name: str) -> bytes:
    """The message of an encoded message as long as the modulus; no label, MGF1 with the same hash.

    Raises: `Undecipherable`, the same for every fault; `Unsupported` where this Python's OpenSSL lacks the function.
    """
    library = _libcrypto()
    digest = getattr(library, _DIGESTS[hash_name])()
    size = len(encoded)
    message = (c_char * size)()
    try:
        length = getattr(library, _CHECK)(message, size, encoded, size, size, None, 0, digest, digest)
        library.ERR_clear_error()  # whatever came of it: the error stays out of this thread's next call to OpenSSL
        if length < 0:
            raise Undecipherable(UNDECIPHERABLE)
        return message.raw[:length]
    finally:
        ctypes.memset(message, 0, size)


@cache
def _libcrypto() -> ctypes.CDLL:
    for load in (_of_hashlib, _of_the_system):
        library = load()
        if library is not None and hasattr(library, _CHECK):
            getattr(library, _CHECK).argtypes = (
                c_void_p,
                c_int,
                c_char_p,
                c_int,
                c_int,
                c_char_p,
                c_int,
                c_void_p,
                c_void_p,
            )
            getattr(library, _CHECK).restype = c_int
            for name in _DIGESTS.values():
                getattr(library, name).restype = c_void_p
            library.ERR_clear_error.restype = None
            return library
    raise Unsupported("this Python's OpenSSL has no RSA-OAEP to be called: RSA keys cannot decrypt", field="spec")


def _of_hashlib() -> ctypes.CDLL | None:
    """Symbols of a library that a loaded one depends on are found through it."""
    try:
        import _hashlib

        return ctypes.CDLL(_hashlib.__file__)
    except (ImportError, AttributeError, OSError):
        return None  # linked into the interpreter


def _of_the_system() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("crypto")
    try:
        return None if name is None else ctypes.CDLL(name)
    except OSError:
        return None
