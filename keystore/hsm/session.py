"""One PKCS#11 session: the few calls that the keystore makes, on plain object handles.

A session belongs to one thread at a time. Handles are good in every session of the process until the module is
finalised.
Raises: `CryptokiError` everywhere.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_ulong
from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute, Mechanism

from keystore.hsm.cryptoki import CAttribute, CMechanism, PackedTemplate
from keystore.hsm.return_values import CryptokiError

if TYPE_CHECKING:
    from keystore.hsm.cryptoki import Module, Template

USER: Final = 1  # CKU_USER
SECURITY_OFFICER: Final = 0  # CKU_SO
_SERIAL_READ_WRITE: Final = 4 | 2  # CKF_SERIAL_SESSION, CKF_RW_SESSION
_OUTPUT: Final = 16 * 1024  # longer than any signature or wrapped key of the closed table
_SEARCH: Final = 64  # handles fetched by one C_FindObjects
_UNAVAILABLE: Final = c_ulong(-1).value  # CK_UNAVAILABLE_INFORMATION
KEY_WRAP: Final = CMechanism.of(Mechanism.AES_KEY_WRAP_PAD)  # RFC 5649


class Session:
    """An open session of one token."""

    def __init__(self, module: Module, slot: int) -> None:
        self._module = module
        handle = c_ulong()
        module.call("C_OpenSession", slot, _SERIAL_READ_WRITE, None, None, byref(handle))
        self.handle = handle.value
        self._sign_init = module.functions["C_SignInit"]
        self._sign = module.functions["C_Sign"]
        self._output = ctypes.create_string_buffer(_OUTPUT)
        self._length = c_ulong()
        self._length_pointer = byref(self._length)

    def login(self, user: int, pin: bytes) -> None:
        self._module.call("C_Login", self.handle, user, pin, len(pin))

    def logout(self) -> None:
        self._module.call("C_Logout", self.handle)

    def find(self, template: Template) -> list[int]:
        """Every object that matches; the search is always ended, for an abandoned one leaves the session unusable."""
        packed = PackedTemplate(template)
        self._module.call("C_FindObjectsInit", self.handle, packed.array, packed.count)
        found: list[int] = []
        batch = (c_ulong * _SEARCH)()
        count = c_ulong()
        try:
            while True:
                self._module.call("C_FindObjects", self.handle, batch, _SEARCH, byref(count))
                if not count.value:
                    return found
                found += batch[: count.value]
        finally:
            self._module.call("C_FindObjectsFinal", self.handle)

    def generate_key(self, mechanism: CMechanism, template: Template) -> int:
        packed, key = PackedTemplate(template), c_ulong()
        self._module.call("C_GenerateKey", self.handle, byref(mechanism), packed.array, packed.count, byref(key))
        return key.value

    def generate_key_pair(self, mechanism: CMechanism, public: Template, private: Template) -> tuple[int, int]:
        """The handles of (public, private)."""
        halves = PackedTemplate(public), PackedTemplate(private)
        handles = c_ulong(), c_ulong()
        self._module.call(
            "C_GenerateKeyPair",
            self.handle,
            byref(mechanism),
            halves[0].array,
            halves[0].count,
            halves[1].array,
            halves[1].count,
            byref(handles[0]),
            byref(handles[1]),
        )
        return handles[0].value, handles[1].value

    def create(self, template: Template) -> int:
        """Makes an object of known value; the packed copy of the template is overwritten afterwards."""
        packed, key = PackedTemplate(template), c_ulong()
        try:
            self._module.call("C_CreateObject", self.handle, packed.array, packed.count, byref(key))
        finally:
            packed.wipe()
        return key.value

    def copy(self, key: int, template: Template) -> int:
        packed, made = PackedTemplate(template), c_ulong()
        self._module.call("C_CopyObject", self.handle, key, packed.array, packed.count, byref(made))
        return made.value

    def destroy(self, key: int) -> None:
        self._module.call("C_DestroyObject", self.handle, key)

    def read(self, key: int, attribute: Attribute) -> bytes:
        """One attribute's bytes as the module holds them (CK_ULONG and CK_BBOOL in the machine's own order)."""
        query = CAttribute(int(attribute), None, 0)
        self._module.call("C_GetAttributeValue", self.handle, key, byref(query), 1)
        if query.length == _UNAVAILABLE:
            raise CryptokiError("C_GetAttributeValue", 0x12)
        buffer = ctypes.create_string_buffer(query.length)
        query.value = ctypes.addressof(buffer)
        self._module.call("C_GetAttributeValue", self.handle, key, byref(query), 1)
        return buffer.raw[: query.length]

    def read_flag(self, key: int, attribute: Attribute) -> bool:
        return self.read(key, attribute) == b"\x01"

    def wrap(self, wrapping_key: int, key: int) -> bytes:
        """AES-KWP (RFC 5649) of the key: PKCS#8 for a private one, the bare value for a secret one."""
        length = c_ulong(_OUTPUT)
        self._module.call("C_WrapKey", self.handle, byref(KEY_WRAP), wrapping_key, key, self._output, byref(length))
        return self._output.raw[: length.value]

    def unwrap(self, unwrapping_key: int, wrapped: bytes, template: Template) -> int:
        packed, key = PackedTemplate(template), c_ulong()
        self._module.call(
            "C_UnwrapKey",
            self.handle,
            byref(KEY_WRAP),
            unwrapping_key,
            wrapped,
            len(wrapped),
            packed.array,
            packed.count,
            byref(key),
        )
        return key.value

    def sign(self, mechanism: CMechanism, key: int, data: bytes) -> bytes:
        """A signature or MAC in one part. The hot path: nothing is allocated but the result."""
        code = self._sign_init(self.handle, byref(mechanism), key)
        if code:
            raise CryptokiError("C_SignInit", code)
        self._length.value = _OUTPUT
        code = self._sign(self.handle, data, len(data), self._output, self._length_pointer)
        if code:
            raise CryptokiError("C_Sign", code)
        return ctypes.string_at(self._output, self._length.value)

    def random(self, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        self._module.call("C_GenerateRandom", self.handle, buffer, size)
        return buffer.raw
