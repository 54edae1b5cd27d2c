"""A PKCS#11 module, called through its own function list: loading, locking, and the C structures.

The module is called directly, with constants from python-pkcs11, because that library's calls initialise a module as
single-threaded, finalise it when an object is collected, bind a key to one session, and add attributes of their own to
a template, where the templates here are the security of the key hierarchy. ctypes releases the GIL in every call.

One process holds one initialised state per module, whoever asks: `Module.epoch` counts initialisations, so that a
handle from an earlier one is never used in a later one, where the same number may name another key.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_ubyte, c_ulong, c_void_p
from pathlib import Path
from typing import Final

from pkcs11 import Attribute, Mechanism

from keystore.errors import ConfigurationError
from keystore.hsm.gate import Gate
from keystore.hsm.return_values import CryptokiError, ReturnValue

# What an attribute may hold. A mapping is a template of its own (UNWRAP_TEMPLATE), a tuple a list of mechanisms.
AttributeValue = bool | int | str | bytes | bytearray | Mapping[Attribute, bool] | tuple[Mechanism, ...]
Template = Mapping[Attribute, AttributeValue]
CFunction = Callable[..., int]

# The function list in its order (PKCS#11 v2.40, pkcs11f.h); u is a CK_ULONG by value, p a pointer, b a CK_BBOOL.
_FUNCTION_LIST: Final = """
C_Initialize:p C_Finalize:p C_GetInfo:p C_GetFunctionList:p C_GetSlotList:bpp C_GetSlotInfo:up C_GetTokenInfo:up
C_GetMechanismList:upp C_GetMechanismInfo:uup C_InitToken:upup C_InitPIN:upu C_SetPIN:upupu C_OpenSession:uuppp
C_CloseSession:u C_CloseAllSessions:u C_GetSessionInfo:up C_GetOperationState:upp C_SetOperationState:upuuu
C_Login:uupu C_Logout:u C_CreateObject:upup C_CopyObject:uupup C_DestroyObject:uu C_GetObjectSize:uup
C_GetAttributeValue:uupu C_SetAttributeValue:uupu C_FindObjectsInit:upu C_FindObjects:upup C_FindObjectsFinal:u
C_EncryptInit:upu C_Encrypt:upupp C_EncryptUpdate:upupp C_EncryptFinal:upp C_DecryptInit:upu C_Decrypt:upupp
C_DecryptUpdate:upupp C_DecryptFinal:upp C_DigestInit:up C_Digest:upupp C_DigestUpdate:upu C_DigestKey:uu
C_DigestFinal:upp C_SignInit:upu C_Sign:upupp C_SignUpdate:upu C_SignFinal:upp C_SignRecoverInit:upu
C_SignRecover:upupp C_VerifyInit:upu C_Verify:upupu C_VerifyUpdate:upu C_VerifyFinal:upu C_VerifyRecoverInit:upu
C_VerifyRecover:upupp C_DigestEncryptUpdate:upupp C_DecryptDigestUpdate:upupp C_SignEncryptUpdate:upupp
C_DecryptVerifyUpdate:upupp C_GenerateKey:uppup C_GenerateKeyPair:uppupupp C_WrapKey:upuupp C_UnwrapKey:upupupup
C_DeriveKey:upupup C_SeedRandom:upu C_GenerateRandom:upu C_GetFunctionStatus:u C_CancelFunction:u
C_WaitForSlotEvent:upp
"""
_FUNCTIONS: Final[Mapping[str, str]] = dict(entry.split(":") for entry in _FUNCTION_LIST.split())
_TYPES: Final = {"u": c_ulong, "p": c_void_p, "b": c_ubyte}
_OS_LOCKING_OK: Final = 2  # CKF_OS_LOCKING_OK


class _Version(Structure):
    _fields_ = (("major", c_ubyte), ("minor", c_ubyte))


class _FunctionList(Structure):
    _fields_ = (("version", _Version), *((name, c_void_p) for name in _FUNCTIONS))


class _InitializeArguments(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("create", "destroy", "lock", "unlock")),
        ("flags", c_ulong),
        ("reserved", c_void_p),
    )


class CMechanism(Structure):
    """CK_MECHANISM. The parameter, if any, is kept alive by `keep`."""

    _fields_ = (("mechanism", c_ulong), ("parameter", c_void_p), ("length", c_ulong))

    @classmethod
    def of(cls, mechanism: Mechanism, parameter: Structure | None = None) -> CMechanism:
        if parameter is None:
            return cls(int(mechanism), None, 0)
        made = cls(int(mechanism), ctypes.addressof(parameter), ctypes.sizeof(parameter))
        made.keep = parameter
        return made

    keep: Structure


class CAttribute(Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("type", c_ulong), ("value", c_void_p), ("length", c_ulong))


class PackedTemplate:
    """A template as the array of CK_ATTRIBUTE that C reads, in the template's order, with the memory it points to."""

    def __init__(self, template: Template) -> None:
        self.count = len(template)
        self.array = (CAttribute * self.count)()
        self._buffers: list[ctypes.Array[ctypes.c_char]] = []
        self._nested: list[PackedTemplate] = []
        for index, (attribute, value) in enumerate(template.items()):
            address, length = self._pack(value)
            self.array[index] = CAttribute(int(attribute), address, length)

    def _pack(self, value: AttributeValue) -> tuple[int, int]:
        if isinstance(value, Mapping):
            nested = PackedTemplate(value)
            self._nested.append(nested)
            return ctypes.addressof(nested.array), ctypes.sizeof(nested.array)
        raw = _attribute_bytes(value)
        buffer = ctypes.create_string_buffer(raw, len(raw))
        self._buffers.append(buffer)
        return ctypes.addressof(buffer), len(raw)

    def wipe(self) -> None:
        """Overwrites the values, for a template that held a secret."""
        for buffer in self._buffers:
            ctypes.memset(buffer, 0, ctypes.sizeof(buffer))


def _attribute_bytes(value: bool | int | str | bytes | bytearray | tuple[Mechanism, ...]) -> bytes:
    if isinstance(value, bool):
        return bytes([value])
    if isinstance(value, int):
        return bytes(c_ulong(value))
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, tuple):
        return b"".join(bytes(c_ulong(mechanism)) for mechanism in value)
    return bytes(value)


class Module:
    """One loaded PKCS#11 library; `load_module` gives the only one of its path. It is never unloaded.

    `call` raises `CryptokiError`. `gate` keeps ordinary calls and initialisation apart: use it round everything.
    """

    def __init__(self, path: Path) -> None:
        try:
            library = ctypes.CDLL(str(path))
            get_function_list = library.C_GetFunctionList
        except (OSError, AttributeError) as error:
            raise ConfigurationError(f"hsm.uri: module-path: {path} cannot be loaded as a PKCS#11 module") from error
        pointer = POINTER(_FunctionList)()
        code = int(get_function_list(byref(pointer)))
        if code:
            raise ConfigurationError(f"hsm.uri: module-path: {path}: C_GetFunctionList returned 0x{code:08X}")
        self.path = path
        self.gate = Gate()
        self.epoch = 0
        self._native: dict[str, CFunction] = {
            name: CFUNCTYPE(c_ulong, *(_TYPES[kind] for kind in kinds))(getattr(pointer.contents, name))
            for name, kinds in _FUNCTIONS.items()
        }
        self.functions = self._native

    def call(self, name: str, *arguments: object) -> None:
        code = self.functions[name](*arguments)
        if code:
            raise CryptokiError(name, code)

    def initialise(self, environment: Mapping[str, str]) -> int:
        """(Re-)initialises the module for threads and returns the new epoch. Only inside `gate.exclusive()`.

        `environment` is what the module reads its settings from, such as SOFTHSM2_CONF.
        """
        os.environ.update(environment)
        self.epoch += 1
        self.functions = self._native
        arguments = _InitializeArguments(flags=_OS_LOCKING_OK)
        code = self._native["C_Initialize"](byref(arguments))
        if code == ReturnValue.CRYPTOKI_ALREADY_INITIALIZED:
            self.finalise()
            code = self._native["C_Initialize"](byref(arguments))
        if code == ReturnValue.CANT_LOCK:
            # The module cannot lock for itself: one lock for the whole process, and it is told of no threads.
            self.functions = _behind_one_lock(self._native)
            code = self._native["C_Initialize"](None)
        if code:
            raise CryptokiError("C_Initialize", code)
        return self.epoch

    def finalise(self) -> None:
        """Ends the initialised state; every handle of it is dead. Only inside `gate.exclusive()`."""
        self.epoch += 1
        self._native["C_Finalize"](None)  # an answer of "not initialised" is as good


def _behind_one_lock(functions: Mapping[str, CFunction]) -> dict[str, CFunction]:
    lock = threading.Lock()

    def locked(function: CFunction) -> CFunction:
        def call(*arguments: object) -> int:
            with lock:
                return function(*arguments)

        return call

    return {name: locked(function) for name, function in functions.items()}


_modules: Final[dict[Path, Module]] = {}
_loading: Final = threading.Lock()


def load_module(path: Path) -> Module:
    """The module of this path, loaded once in the life of the process. Raises: `ConfigurationError`."""
    with _loading:
        real = path.resolve()
        if real not in _modules:
            _modules[real] = Module(real)
        return _modules[real]
