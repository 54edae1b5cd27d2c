"""Material from outside as a backing key: for a moment a session object of known value, confined as every other, then
wrapped by its domain key. What was given in the clear is the caller's to wipe.
"""

from __future__ import annotations

import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute

from keystore.algorithms import KeyKind
from keystore.api import GeneratedKey
from keystore.hsm.mechanisms import EC_PARAMETERS, KEY_TYPES, require_use
from keystore.hsm.templates import unwrapped
from keystore.hsm.uses import material_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.algorithms import KeyUse
    from keystore.hsm.attributes import Template
    from keystore.hsm.session import Key, Session
    from keystore.importable import Material

_PARTS: Final[Mapping[str, Attribute]] = MappingProxyType(
    {
        "value": Attribute.VALUE,
        "modulus": Attribute.MODULUS,
        "public_exponent": Attribute.PUBLIC_EXPONENT,
        "private_exponent": Attribute.PRIVATE_EXPONENT,
        "prime_1": Attribute.PRIME_1,
        "prime_2": Attribute.PRIME_2,
        "exponent_1": Attribute.EXPONENT_1,
        "exponent_2": Attribute.EXPONENT_2,
        "coefficient": Attribute.COEFFICIENT,
    }
)


def bring_in(session: Session, material: Material, use: KeyUse, domain: Key) -> GeneratedKey:
    """The material wrapped by the domain key. Raises: `Unsupported` where a key of its spec has no such use."""
    require_use(material.spec, use)
    key = session.create(_template(material, use))
    try:
        told = material_id(session, key) if material.spec.kind is KeyKind.AES else None
        return GeneratedKey(material.public_key, session.wrap(domain, key), None, told)
    finally:
        session.destroy(key)


def _template(material: Material, use: KeyUse) -> Template:
    spec = material.spec
    parameters = {} if spec.curve is None else {Attribute.EC_PARAMS: EC_PARAMETERS[spec.curve]}
    return {
        **unwrapped(KEY_TYPES[spec.kind], use),
        Attribute.LABEL: f"imported/{uuid.uuid4()}",  # for `Session.create`, among all that a busy process has open
        **parameters,
        **{_PARTS[name]: part for name, part in material.parts.items()},
    }
