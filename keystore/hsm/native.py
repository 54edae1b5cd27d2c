"""The few PKCS#11 calls that python-pkcs11 does not make, or not as the key hierarchy needs them, by ctypes.

- `C_Initialize` with CKF_OS_LOCKING_OK, and `C_Finalize`: the library initialises a module for one thread and then
  calls it from many, and it cannot be told that its own state is stale.
- `C_InitToken`: the library cannot make a token.
- `C_Login` and `C_Logout` on an open session: the library logs in where it opens a session and logs out where it closes
  it, and a ceremony's session objects live only as long as their session, through the change from officer to user.
- `C_CreateObject`: the library copies a template's values into memory that it frees without wiping; here a key's octets
  are read where the caller keeps them, and overwrites them.
- a template inside a template (UNWRAP_TEMPLATE, WRAP_TEMPLATE): the library has no handler that packs one.

Everything else goes through the library. Both call the same shared object, by the same function list. ctypes, too,
releases the GIL in every call.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_ubyte, c_ulong, c_void_p
from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute

from keystore.errors import ConfigurationError
from keystore.hsm.return_values import CryptokiError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USER: Final = 1  # CKU_USER
SECURITY_OFFICER: Final = 0  # CKU_SO
_OS_LOCKING_OK: Final = 2  # CKF_OS_LOCKING_OK
_LABEL_LENGTH: Final = 32  # octets, padded with spaces (PKCS#11 v2.40, C_InitToken)

# The function list in its order (PKCS#11 v2.40, pkcs11f.h), as far as it is used here.
_FUNCTION_LIST: Final = (
    "C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList "
    "C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions "
    "C_GetSessionInfo C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject"
)
_PROTOTYPES: Final = {
    "C_Initialize": CFUNCTYPE(c_ulong, c_void_p),
    "C_Finalize": CFUNCTYPE(c_ulong, c_void_p),
    "C_InitToken": CFUNCTYPE(c_ulong, c_ulong, c_void_p, c_ulong, c_void_p),
    "C_Login": CFUNCTYPE(c_ulong, c_ulong, c_ulong, c_void_p, c_ulong),
    "C_Logout": CFUNCTYPE(c_ulong, c_ulong),
    "C_CreateObject": CFUNCTYPE(c_ulong, c_ulong, c_void_p, c_ulong, c_void_p),
}


class _Version(Structure):
    _fields_ = (("major", c_ubyte), ("minor", c_ubyte))


class _FunctionList(Structure):
    _fields_ = (("version", _Version), *((name, c_void_p) for name in _FUNCTION_LIST.split()))


class _InitializeArguments(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("create", "destroy", "lock", "unlock")),
        ("flags", c_ulong),
        ("reserved", c_void_p),
    )


class _Attribute(Structure):
    _fields_ = (("type", c_ulong), ("value", c_void_p), ("length", c_ulong))


_FLAGS: Final = {value: c_ubyte(value) for value in (False, True)}  # CK_BBOOL, for as long as the process lives


def pack_flags(template: Mapping[Attribute, bool]) -> bytes:
    """A template of flags as the CK_ATTRIBUTE array that is another attribute's value."""
    array = (_Attribute * len(template))()
    for index, (attribute, value) in enumerate(template.items()):
        array[index] = _Attribute(int(attribute), ctypes.addressof(_FLAGS[value]), 1)
    return bytes(array)


class Native:
    """A loaded module's own functions. It is never unloaded. Raises: `CryptokiError`, but for the first two calls."""

    def __init__(self, path: Path) -> None:
        try:
            library = ctypes.CDLL(str(path))
            get_function_list = library.C_GetFunctionList
        except (OSError, AttributeError) as error:
            raise ConfigurationError(f"hsm.uri: module-path: {path} cannot be loaded as a PKCS#11 module") from error
        functions = POINTER(_FunctionList)()
        code = int(get_function_list(byref(functions)))
        if code:
            raise ConfigurationError(f"hsm.uri: module-path: {path}: C_GetFunctionList returned 0x{code:08X}")
        self._functions = functions

    def initialise(self, *, threads: bool) -> int:
        """The return value; `threads` tells the module to lock for itself."""
        arguments = _InitializeArguments(flags=_OS_LOCKING_OK)
        return self._return_value("C_Initialize", byref(arguments) if threads else None)

    def finalise(self) -> None:
        """Ends the initialised state, if there is one: an answer of "not initialised" is as good."""
        self._return_value("C_Finalize", None)

    def initialise_token(self, slot: int, officer_pin: bytes, label: str) -> None:
        padded = label.encode().ljust(_LABEL_LENGTH)
        self._call("C_InitToken", slot, officer_pin, len(officer_pin), padded)

    def log_in(self, session: int, user: int, pin: bytes) -> None:
        self._call("C_Login", session, user, pin, len(pin))

    def log_out(self, session: int) -> None:
        self._call("C_Logout", session)

    def create_object(self, session: int, attributes: Mapping[Attribute, bytes | bytearray]) -> int:
        """The new object's handle. What is given as a `bytearray` is read in place and copied nowhere on this side."""
        array, buffers = (_Attribute * len(attributes))(), []
        for index, (attribute, value) in enumerate(attributes.items()):
            kind = c_ubyte * len(value)
            buffer = kind.from_buffer(value) if isinstance(value, bytearray) else kind.from_buffer_copy(value)
            buffers.append(buffer)
            array[index] = _Attribute(int(attribute), ctypes.addressof(buffer), len(value))
        handle = c_ulong()
        self._call("C_CreateObject", session, array, len(attributes), byref(handle))
        return handle.value

    def _call(self, name: str, *arguments: object) -> None:
        code = self._return_value(name, *arguments)
        if code:
            raise CryptokiError(name, code)

    def _return_value(self, name: str, *arguments: object) -> int:
        return int(_PROTOTYPES[name](getattr(self._functions.contents, name))(*arguments))
