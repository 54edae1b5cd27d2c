"""A PKCS#11 module by its own function list: raw calls, and a function that stands in for one of the module's.

Attacks call C functions themselves, so that a refusal is the HSM's and not that of a library. `Injected` writes into
the list that every caller in this process goes by, python-pkcs11 and the service's own few raw calls alike.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_ubyte, c_ulong, c_void_p
from pathlib import Path
from typing import Final

import pytest
from pkcs11 import Mechanism

from keystore.hsm.attributes import AttributeValue, Template
from keystore.hsm.return_values import ReturnValue

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
FUNCTIONS: Final[Mapping[str, str]] = dict(entry.split(":") for entry in _FUNCTION_LIST.split())
_TYPES: Final = {"u": c_ulong, "p": c_void_p, "b": c_ubyte}


class _Version(Structure):
    _fields_ = (("major", c_ubyte), ("minor", c_ubyte))


class _FunctionList(Structure):
    _fields_ = (("version", _Version), *((name, c_void_p) for name in FUNCTIONS))


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


def function_list(path: Path) -> _FunctionList:
    """The module's own list, in the module's memory: what is written here, everybody calls."""
    pointer = POINTER(_FunctionList)()
    assert ctypes.CDLL(str(path.resolve())).C_GetFunctionList(byref(pointer)) == ReturnValue.OK
    return pointer.contents


def _prototype(name: str) -> type[ctypes._CFunctionType]:
    return CFUNCTYPE(c_ulong, *(_TYPES[kind] for kind in FUNCTIONS[name]))


def raw_functions(path: Path) -> dict[str, CFunction]:
    """Every C function of the module by its name."""
    functions = function_list(path)
    return {name: _prototype(name)(getattr(functions, name)) for name in FUNCTIONS}


def attributes_at(address: int, count: int) -> list[tuple[int, bytes]]:
    """(type, octets) of the CK_ATTRIBUTE array at an address."""
    array = (CAttribute * count).from_address(address)
    return [(one.type, ctypes.string_at(one.value, one.length)) for one in array]


_KEPT: Final[list[object]] = []  # a stand-in is never freed: C holds its address, and a thread may still be in it


class Injected:
    """A PKCS#11 function that counts its calls and answers some of them itself, until the test is over."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.calls = 0
        self.code = ReturnValue.OK
        self.times = 0
        self.watch: Callable[..., None] | None = None  # sees the arguments of each call, while C's memory is good
        self.after: Callable[..., int] | None = None  # sees them after a call that went well, and has the last word
        functions, prototype = function_list(path), _prototype(name)
        real = prototype(getattr(functions, name))

        def call(*arguments: object) -> int:
            self.calls += 1
            if self.watch is not None:
                self.watch(*arguments)
            if self.times:
                self.times -= 1
                return self.code
            code = int(real(*arguments))
            return self.after(*arguments) if self.after is not None and not code else code

        callback = prototype(call)
        _KEPT.append(callback)
        monkeypatch.setattr(functions, name, ctypes.cast(callback, c_void_p).value)

    def answer(self, code: ReturnValue, times: int) -> None:
        self.code, self.times = code, times
