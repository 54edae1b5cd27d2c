"""The return values of PKCS#11 by name, and which say that the connection is stale rather than the request wrong.

python-pkcs11 has a class of error for most of them, and says the others in words: `cryptoki_error` has the number back.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from pkcs11 import PKCS11Error, exceptions


class ReturnValue(IntEnum):
    """CK_RV, PKCS#11 v2.40 base specification, appendix B."""

    OK = 0x000
    HOST_MEMORY = 0x002
    SLOT_ID_INVALID = 0x003
    GENERAL_ERROR = 0x005
    FUNCTION_FAILED = 0x006
    ARGUMENTS_BAD = 0x007
    NEED_TO_CREATE_THREADS = 0x009
    CANT_LOCK = 0x00A
    ATTRIBUTE_READ_ONLY = 0x010
    ATTRIBUTE_SENSITIVE = 0x011
    ATTRIBUTE_TYPE_INVALID = 0x012
    ATTRIBUTE_VALUE_INVALID = 0x013
    ACTION_PROHIBITED = 0x01B
    DATA_INVALID = 0x020
    DATA_LEN_RANGE = 0x021
    DEVICE_ERROR = 0x030
    DEVICE_MEMORY = 0x031
    DEVICE_REMOVED = 0x032
    ENCRYPTED_DATA_INVALID = 0x040
    ENCRYPTED_DATA_LEN_RANGE = 0x041
    FUNCTION_CANCELED = 0x050
    FUNCTION_NOT_SUPPORTED = 0x054
    KEY_HANDLE_INVALID = 0x060
    KEY_SIZE_RANGE = 0x062
    KEY_TYPE_INCONSISTENT = 0x063
    KEY_NOT_NEEDED = 0x064
    KEY_INDIGESTIBLE = 0x067
    KEY_FUNCTION_NOT_PERMITTED = 0x068
    KEY_NOT_WRAPPABLE = 0x069
    KEY_UNEXTRACTABLE = 0x06A
    MECHANISM_INVALID = 0x070
    MECHANISM_PARAM_INVALID = 0x071
    OBJECT_HANDLE_INVALID = 0x082
    OPERATION_ACTIVE = 0x090
    OPERATION_NOT_INITIALIZED = 0x091
    PIN_INCORRECT = 0x0A0
    PIN_INVALID = 0x0A1
    PIN_LEN_RANGE = 0x0A2
    PIN_EXPIRED = 0x0A3
    PIN_LOCKED = 0x0A4
    SESSION_CLOSED = 0x0B0
    SESSION_COUNT = 0x0B1
    SESSION_HANDLE_INVALID = 0x0B3
    SESSION_READ_ONLY = 0x0B5
    SESSION_EXISTS = 0x0B6
    SIGNATURE_INVALID = 0x0C0
    SIGNATURE_LEN_RANGE = 0x0C1
    TEMPLATE_INCOMPLETE = 0x0D0
    TEMPLATE_INCONSISTENT = 0x0D1
    TOKEN_NOT_PRESENT = 0x0E0
    TOKEN_NOT_RECOGNIZED = 0x0E1
    TOKEN_WRITE_PROTECTED = 0x0E2
    UNWRAPPING_KEY_HANDLE_INVALID = 0x0F0
    UNWRAPPING_KEY_SIZE_RANGE = 0x0F1
    UNWRAPPING_KEY_TYPE_INCONSISTENT = 0x0F2
    USER_ALREADY_LOGGED_IN = 0x100
    USER_NOT_LOGGED_IN = 0x101
    USER_PIN_NOT_INITIALIZED = 0x102
    USER_TYPE_INVALID = 0x103
    USER_ANOTHER_ALREADY_LOGGED_IN = 0x104
    WRAPPED_KEY_INVALID = 0x110
    WRAPPED_KEY_LEN_RANGE = 0x112
    WRAPPING_KEY_HANDLE_INVALID = 0x113
    WRAPPING_KEY_SIZE_RANGE = 0x114
    WRAPPING_KEY_TYPE_INCONSISTENT = 0x115
    RANDOM_NO_RNG = 0x121
    DOMAIN_PARAMS_INVALID = 0x130
    CURVE_NOT_SUPPORTED = 0x140
    BUFFER_TOO_SMALL = 0x150
    STATE_UNSAVEABLE = 0x180
    CRYPTOKI_NOT_INITIALIZED = 0x190
    CRYPTOKI_ALREADY_INITIALIZED = 0x191
    MUTEX_BAD = 0x1A0
    MUTEX_NOT_LOCKED = 0x1A1
    FUNCTION_REJECTED = 0x200


# A new initialisation and login may mend these: the module, the device or the handles are not what they were.
STALE: Final = frozenset(
    {
        ReturnValue.GENERAL_ERROR,
        ReturnValue.FUNCTION_FAILED,
        ReturnValue.DEVICE_ERROR,
        ReturnValue.DEVICE_MEMORY,
        ReturnValue.DEVICE_REMOVED,
        ReturnValue.KEY_HANDLE_INVALID,
        ReturnValue.OBJECT_HANDLE_INVALID,
        ReturnValue.OPERATION_ACTIVE,
        ReturnValue.OPERATION_NOT_INITIALIZED,
        ReturnValue.SESSION_CLOSED,
        ReturnValue.SESSION_HANDLE_INVALID,
        ReturnValue.SLOT_ID_INVALID,
        ReturnValue.TOKEN_NOT_PRESENT,
        ReturnValue.TOKEN_NOT_RECOGNIZED,
        ReturnValue.UNWRAPPING_KEY_HANDLE_INVALID,
        ReturnValue.WRAPPING_KEY_HANDLE_INVALID,
        ReturnValue.USER_NOT_LOGGED_IN,
        ReturnValue.CRYPTOKI_NOT_INITIALIZED,
        ReturnValue.MUTEX_BAD,
    }
)

# A key or an object that was found before is there no more, or is another object now.
GONE: Final = frozenset({ReturnValue.KEY_HANDLE_INVALID, ReturnValue.OBJECT_HANDLE_INVALID})

# The PIN is wrong or used up. Trying again could lock the token for good.
PIN_REFUSED: Final = frozenset(
    {
        ReturnValue.PIN_INCORRECT,
        ReturnValue.PIN_INVALID,
        ReturnValue.PIN_LEN_RANGE,
        ReturnValue.PIN_EXPIRED,
        ReturnValue.PIN_LOCKED,
        ReturnValue.USER_PIN_NOT_INITIALIZED,
    }
)

# The module does not have the mechanism, or not for this kind of key.
LACKING: Final = frozenset(
    {
        ReturnValue.FUNCTION_NOT_SUPPORTED,
        ReturnValue.MECHANISM_INVALID,
        ReturnValue.MECHANISM_PARAM_INVALID,
        ReturnValue.CURVE_NOT_SUPPORTED,
        ReturnValue.DOMAIN_PARAMS_INVALID,
        ReturnValue.KEY_SIZE_RANGE,
        ReturnValue.KEY_TYPE_INCONSISTENT,
    }
)


# Where a class is not called as the return value is.
_CLASSES: Final = {
    exceptions.AnotherUserAlreadyLoggedIn: ReturnValue.USER_ANOTHER_ALREADY_LOGGED_IN,
    exceptions.FunctionCancelled: ReturnValue.FUNCTION_CANCELED,
    exceptions.TokenNotRecognised: ReturnValue.TOKEN_NOT_RECOGNIZED,
    **{
        found: value
        for value in ReturnValue
        for found in vars(exceptions).values()
        if isinstance(found, type) and found.__name__.lower() == value.name.replace("_", "").lower()
    },
}
# What has no class of its own is a `PKCS11Error` whose text tells it.
_SENTENCES: Final = {
    "Buffer was too small.": ReturnValue.BUFFER_TOO_SMALL,
    "Initialisation error (already initialized).": ReturnValue.CRYPTOKI_ALREADY_INITIALIZED,
    "Initialisation error (not initialized).": ReturnValue.CRYPTOKI_NOT_INITIALIZED,
    "User type invalid.": ReturnValue.USER_TYPE_INVALID,
}
_UNMAPPED: Final = re.compile(r"Unmapped error code 0x([0-9a-f]+)")


class CryptokiError(Exception):
    """A PKCS#11 function did not return CKR_OK. Stays inside `keystore.hsm`, which translates it."""

    def __init__(self, function: str, code: int) -> None:
        try:
            name = f"CKR_{ReturnValue(code).name}"
        except ValueError:
            name = f"CKR 0x{code:08X}"
        super().__init__(f"{function}: {name}")
        self.function = function
        self.code = code
        self.name = name


def cryptoki_error(function: str, error: PKCS11Error) -> CryptokiError:
    """What to raise instead of the library's error, `from error`; what it does not tell is a GENERAL_ERROR."""
    known = _CLASSES.get(type(error))
    if known is not None:
        return CryptokiError(function, known)
    text = str(error)
    number = _UNMAPPED.fullmatch(text)
    if number is not None:
        return CryptokiError(function, int(number[1], 16))
    told = (value for sentence, value in _SENTENCES.items() if text.startswith(sentence))
    return CryptokiError(function, next(told, ReturnValue.GENERAL_ERROR))
