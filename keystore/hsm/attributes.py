"""Attributes on their way to the module and back: templates exactly as they are written, in their order.

python-pkcs11 adds attributes of its own to a template, where the templates here are the security of the key hierarchy:
`BareAttributes` adds none. (Of the length of a key that is made, the library insists to say it itself.)
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import c_ulong
from typing import Any

from pkcs11 import Attribute, Mechanism, ObjectClass
from pkcs11.attributes import AttributeMapper

from keystore.hsm.native import pack_flags

# What an attribute may hold. A mapping is a template of its own (UNWRAP_TEMPLATE), a tuple a list of mechanisms.
AttributeValue = bool | int | str | bytes | bytearray | Mapping[Attribute, bool] | tuple[Mechanism, ...]
Template = Mapping[Attribute, AttributeValue]


class BareAttributes(AttributeMapper):
    """How python-pkcs11 packs and unpacks. A template that it asks for is empty, or what it is made of."""

    def __init__(self) -> None:
        super().__init__()
        for nested in (Attribute.UNWRAP_TEMPLATE, Attribute.WRAP_TEMPLATE):
            self.register_handler(nested, pack_flags, bytes)
        self.register_handler(Attribute.ALLOWED_MECHANISMS, pack_mechanisms, bytes)
        # Another application's objects may be of a class, or bear a label, that the library's own handlers refuse.
        self.register_handler(Attribute.CLASS, self.attribute_types[Attribute.CLASS][0], _object_class)
        self.register_handler(Attribute.LABEL, str.encode, lambda octets: octets.decode("utf-8", "replace"))

    def secret_key_template(self, **_settings: object) -> dict[Attribute, Any]:
        return {}

    def public_key_template(self, **_settings: object) -> dict[Attribute, Any]:
        return {}

    def private_key_template(self, **_settings: object) -> dict[Attribute, Any]:
        return {}

    def generic_key_template(self, base_template: dict[Attribute, Any], **_settings: object) -> dict[Attribute, Any]:
        return dict(base_template)


def pack_mechanisms(mechanisms: tuple[Mechanism, ...]) -> bytes:
    """A list of mechanisms as the value of ALLOWED_MECHANISMS."""
    return b"".join(bytes(c_ulong(mechanism)) for mechanism in mechanisms)


def _object_class(octets: bytes) -> ObjectClass | int:
    number = c_ulong.from_buffer_copy(octets).value
    try:
        return ObjectClass(number)
    except ValueError:
        return number
