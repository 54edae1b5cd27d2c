"""Somebody with the service's own PIN, the module and the whole database, calling the HSM's C functions directly.

Every method returns the function's own return value, so that a refusal is the HSM's and not that of a library.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_ulong
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keystore.hsm.connection import find_token, log_in
from keystore.hsm.module import load_module
from keystore.hsm.return_values import ReturnValue
from tests.attacks.raw import CAttribute, CMechanism, PackedTemplate, raw_functions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystore.hsm.attributes import Template
    from tests.attacks.raw import CFunction
    from tests.hsm_support import TestToken

KWP: Final = CMechanism.of(Mechanism.AES_KEY_WRAP_PAD)
KNOWN_KEY: Final = b"k" * 32  # octets that the attacker chose
CONFINED: Final = {
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: True,
    Attribute.WRAP_WITH_TRUSTED: True,
}
EC_PRIVATE: Final = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC, Attribute.SIGN: True}
RSA_PRIVATE: Final = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.RSA, Attribute.SIGN: True}
AES_SECRET: Final = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
GENERIC_SECRET: Final = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET}
AES_CUSTOMER: Final = {**AES_SECRET, Attribute.ENCRYPT: True, Attribute.DECRYPT: True}
HMAC_CUSTOMER: Final = {**GENERIC_SECRET, Attribute.SIGN: True}
_BUFFER: Final = 16 * 1024


@dataclass(frozen=True)
class Answer:
    """A return value, and the object handle or octets that came with it, empty where the call was refused."""

    code: int
    handle: int = 0
    octets: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        return ReturnValue(self.code).name


@dataclass(frozen=True)
class Attacker:
    """One logged-in session, and raw calls on it."""

    functions: Mapping[str, CFunction]
    slot: int
    session: int

    @classmethod
    def logged_in(cls, token: TestToken) -> Attacker:
        """With the service's PIN. Other connections of this process are dead from here on."""
        module = load_module(token.configuration.module)
        with module.gate.exclusive():
            login = log_in(module, token.configuration, token.user_pin)
        return cls(raw_functions(module.path), login.token.slot, login.session.handle)

    @classmethod
    def without_pin(cls, token: TestToken) -> Attacker:
        """With access to the module and its files alone."""
        module = load_module(token.configuration.module)
        with module.gate.exclusive():
            module.initialise(token.configuration.environment)
            slot = find_token(module, token.configuration.uri).slot
        functions, handle = raw_functions(module.path), c_ulong()
        assert functions["C_OpenSession"](slot, 6, None, None, byref(handle)) == ReturnValue.OK
        return cls(functions, slot, handle.value)

    def call(self, name: str, *arguments: object) -> int:
        return self.functions[name](*arguments)

    def find(self, template: Template) -> list[int]:
        packed = PackedTemplate(template)
        assert self.call("C_FindObjectsInit", self.session, packed.array, packed.count) == ReturnValue.OK
        handles, count = (c_ulong * 1000)(), c_ulong()
        assert self.call("C_FindObjects", self.session, handles, 1000, byref(count)) == ReturnValue.OK
        assert self.call("C_FindObjectsFinal", self.session) == ReturnValue.OK
        return handles[: count.value]

    def key(self, label: str) -> int:
        (handle,) = self.find({Attribute.LABEL: label})
        return handle

    def create(self, template: Template) -> Answer:
        packed, handle = PackedTemplate(template), c_ulong()
        code = self.call("C_CreateObject", self.session, packed.array, packed.count, byref(handle))
        return Answer(code, handle.value)

    def known_key(self, **uses: bool) -> int:
        """An AES key whose octets the attacker chose."""
        more = {Attribute[name]: value for name, value in uses.items()}
        answer = self.create(
            {**AES_SECRET, Attribute.VALUE: KNOWN_KEY, Attribute.TOKEN: False, Attribute.WRAP: True, **more}
        )
        assert answer.code == ReturnValue.OK
        return answer.handle

    def generate(self, mechanism: Mechanism, template: Template) -> Answer:
        packed, handle = PackedTemplate(template), c_ulong()
        made = CMechanism.of(mechanism)
        return Answer(
            self.call("C_GenerateKey", self.session, byref(made), packed.array, packed.count, byref(handle)),
            handle.value,
        )

    def copy(self, key: int, template: Template) -> Answer:
        packed, handle = PackedTemplate(template), c_ulong()
        return Answer(
            self.call("C_CopyObject", self.session, key, packed.array, packed.count, byref(handle)), handle.value
        )

    def set(self, key: int, template: Template) -> int:
        packed = PackedTemplate(template)
        return self.call("C_SetAttributeValue", self.session, key, packed.array, packed.count)

    def get(self, key: int, attribute: Attribute) -> Answer:
        buffer = ctypes.create_string_buffer(_BUFFER)
        query = CAttribute(int(attribute), ctypes.addressof(buffer), _BUFFER)
        code = self.call("C_GetAttributeValue", self.session, key, byref(query), 1)
        return Answer(code, octets=buffer.raw[: query.length] if code == ReturnValue.OK else b"")

    def flag(self, key: int, attribute: Attribute) -> bool:
        answer = self.get(key, attribute)
        assert answer.code == ReturnValue.OK
        return answer.octets == b"\x01"

    def destroy(self, key: int) -> int:
        return self.call("C_DestroyObject", self.session, key)

    def wrap(self, wrapping_key: int, key: int, mechanism: CMechanism = KWP) -> Answer:
        buffer, length = ctypes.create_string_buffer(_BUFFER), c_ulong(_BUFFER)
        code = self.call("C_WrapKey", self.session, byref(mechanism), wrapping_key, key, buffer, byref(length))
        return Answer(code, octets=buffer.raw[: length.value] if code == ReturnValue.OK else b"")

    def unwrap(self, key: int, wrapped: bytes, template: Template, mechanism: CMechanism = KWP) -> Answer:
        packed, handle = PackedTemplate(template), c_ulong()
        code = self.call(
            "C_UnwrapKey",
            self.session,
            byref(mechanism),
            key,
            wrapped,
            len(wrapped),
            packed.array,
            packed.count,
            byref(handle),
        )
        return Answer(code, handle.value)

    def derive(self, key: int, mechanism: CMechanism, template: Template) -> Answer:
        packed, handle = PackedTemplate(template), c_ulong()
        return Answer(
            self.call("C_DeriveKey", self.session, byref(mechanism), key, packed.array, packed.count, byref(handle)),
            handle.value,
        )

    def begin(self, operation: str, mechanism: CMechanism, key: int) -> int:
        """C_SignInit, C_DecryptInit ... An operation that did begin is left active: use it or log in anew."""
        return self.call(operation, self.session, byref(mechanism), key)

    def finish(self, operation: str, data: bytes) -> Answer:
        """C_Sign, C_Decrypt ... of an operation that was begun."""
        buffer, length = ctypes.create_string_buffer(_BUFFER), c_ulong(_BUFFER)
        code = self.call(operation, self.session, data, len(data), buffer, byref(length))
        return Answer(code, octets=buffer.raw[: length.value] if code == ReturnValue.OK else b"")

    def labels(self, handles: Sequence[int]) -> list[str]:
        return sorted(self.get(handle, Attribute.LABEL).octets.decode() for handle in handles)
