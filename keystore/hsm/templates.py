"""The attributes of every object that the service makes on a token. They are the security of the key hierarchy.

`docs/attacks.md` numbers the attacks that each attribute stops. Order matters: SoftHSM refuses attributes that stand
after MODIFIABLE, so it is last. Nothing here does IO.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keystore.algorithms import KeyUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.hsm.attributes import AttributeValue, Template

_NO_DATA_USE: Final[Mapping[Attribute, AttributeValue]] = {
    Attribute.ENCRYPT: False,
    Attribute.DECRYPT: False,
    Attribute.DERIVE: False,
}
_AES: Final[Mapping[Attribute, AttributeValue]] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.AES,
}
_HMAC: Final[Mapping[Attribute, AttributeValue]] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
}
AES_256: Final[Template] = MappingProxyType({Attribute.VALUE_LEN: 32})
HMAC_256: Final[Template] = MappingProxyType({Attribute.VALUE_LEN: 32})

# A backing key may leave only under a TRUSTED key, and is unwrapped into a private session object that nobody can read:
# without PRIVATE, SoftHSM would write it in the clear to its file store; without TOKEN=false it would stay behind.
CONFINED: Final[Mapping[Attribute, bool]] = MappingProxyType(
    {
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: True,
        Attribute.WRAP_WITH_TRUSTED: True,
    }
)

# One use and no other. The HSM does not insist on it (`docs/attacks.md`, 49 and 51): it is for the service's own calls.
_SECRET_USES: Final[Mapping[KeyType, Mapping[Attribute, AttributeValue]]] = {
    KeyType.AES: {**_AES, Attribute.ENCRYPT: True, Attribute.DECRYPT: True, Attribute.SIGN: False},
    KeyType.GENERIC_SECRET: {**_HMAC, Attribute.ENCRYPT: False, Attribute.DECRYPT: False, Attribute.SIGN: True},
}
_NO_OTHER_USE: Final[Mapping[Attribute, AttributeValue]] = {
    Attribute.VERIFY: False,
    Attribute.WRAP: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
}

# While the officer is logged in only PRIVATE=false objects can be made. These are session objects of the ceremony's own
# process: no other process ever sees them, and nothing of them is left if the ceremony is cut short.
_NASCENT: Final[Mapping[Attribute, AttributeValue]] = {
    Attribute.TOKEN: False,
    Attribute.PRIVATE: False,
    Attribute.SENSITIVE: True,
}

_WRAPPING: Final[Mapping[Attribute, AttributeValue]] = {
    **_AES,
    **_NASCENT,
    **_NO_DATA_USE,
    Attribute.SIGN: False,
    Attribute.VERIFY: False,
    Attribute.WRAP: True,
    Attribute.TRUSTED: True,
    Attribute.EXTRACTABLE: True,
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_KEY_WRAP_PAD,),
}

# The region key wraps only what an officer made: a known key wrapped by it, and put among the roots in the database,
# would come out of a restore as a TRUSTED domain key.
OFFICIAL: Final[Mapping[Attribute, bool]] = MappingProxyType({Attribute.TRUSTED: True})
REGION: Final[Template] = MappingProxyType({**_WRAPPING, Attribute.UNWRAP: False, Attribute.WRAP_TEMPLATE: OFFICIAL})
DOMAIN: Final[Template] = MappingProxyType(
    {
        **_WRAPPING,
        Attribute.UNWRAP: True,
        Attribute.WRAP_WITH_TRUSTED: True,
        Attribute.UNWRAP_TEMPLATE: CONFINED,
    }
)
INTEGRITY: Final[Template] = MappingProxyType(
    {
        **_HMAC,
        **_NASCENT,
        **_NO_DATA_USE,
        Attribute.WRAP: False,
        Attribute.UNWRAP: False,
        Attribute.SIGN: True,
        Attribute.VERIFY: True,
        Attribute.TRUSTED: True,  # so that the region key wraps it; it wraps nothing itself
        Attribute.EXTRACTABLE: True,
        Attribute.WRAP_WITH_TRUSTED: True,
        Attribute.ALLOWED_MECHANISMS: (Mechanism.SHA256_HMAC,),
    }
)

# A key of known bytes that exists in the officer's session alone: one takes the region key out for the custodians'
# shares, the other brings its wrapped keys into another token.
TRANSPORT: Final[Template] = MappingProxyType(
    {
        **_AES,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: False,
        **_NO_DATA_USE,
        Attribute.WRAP: True,
        Attribute.UNWRAP: False,
    }
)
TWIN: Final[Template] = MappingProxyType(
    {
        **_AES,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: False,
        **_NO_DATA_USE,
        Attribute.WRAP: False,
        Attribute.UNWRAP: True,
    }
)
_LOCKED: Final[Mapping[Attribute, AttributeValue]] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.EXTRACTABLE: False,
}


def locked(label: str, *, destroyable: bool) -> Template:
    """What the user's copy of a nascent key becomes. A domain key stays destroyable, for its rotation."""
    permanence: Mapping[Attribute, AttributeValue] = {} if destroyable else {Attribute.DESTROYABLE: False}
    return {Attribute.LABEL: label, **_LOCKED, **permanence, Attribute.MODIFIABLE: False}


def key_pair(kind: KeyType, parameters: Template, use: KeyUse = KeyUse.SIGN) -> tuple[Template, Template]:
    """(public, private) of a backing key about to be made and wrapped: session objects, the private one confined."""
    return _public_half(kind, parameters), _private_half(kind, use, CONFINED)


def readable_key_pair(kind: KeyType, parameters: Template) -> tuple[Template, Template]:
    """(public, private) of a pair for a caller's own use, about to be read once and destroyed: session objects."""
    readable: Mapping[Attribute, bool] = {
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: False,
        Attribute.EXTRACTABLE: True,
    }
    return _public_half(kind, parameters), _private_half(kind, KeyUse.SIGN, readable)


def shared_secret(octets: int) -> Template:
    """What two sides agree on, about to be read once and destroyed: a session object."""
    return {
        **_HMAC,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: False,
        Attribute.EXTRACTABLE: True,
        Attribute.SIGN: False,
        **_NO_DATA_USE,
        Attribute.VALUE_LEN: octets,
    }


def secret_key(kind: KeyType) -> Template:
    """A secret backing key, to be made or brought back: AES encrypts and decrypts, a generic secret makes MACs."""
    return {**_SECRET_USES[kind], **_NO_OTHER_USE, **CONFINED}


def new_secret_key(kind: KeyType, octets: int) -> Template:
    """One about to be made, of that many octets."""
    return {**secret_key(kind), Attribute.VALUE_LEN: octets}


def token_key_pair(
    kind: KeyType, parameters: Template, label: str, use: KeyUse = KeyUse.SIGN
) -> tuple[Template, Template]:
    """(public, private) of a key that stays on the token for good: its private half never leaves and never changes."""
    stays: Mapping[Attribute, AttributeValue] = {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.COPYABLE: False,
    }
    return _public_half(kind, parameters), {
        **_private_half(kind, use, stays),
        Attribute.LABEL: label,
        Attribute.MODIFIABLE: False,
    }


def unwrapped(kind: KeyType, use: KeyUse = KeyUse.SIGN) -> Template:
    """A backing key brought back for its use. The domain key's UNWRAP_TEMPLATE insists on the confinement."""
    return secret_key(kind) if kind in _SECRET_USES else _private_half(kind, use, CONFINED)


def of_known_value(template: Template, value: bytearray) -> Template:
    """A key whose octets come from outside."""
    return {**template, Attribute.VALUE: value}


def data_object(name: str, text: str) -> Template:
    """A text on the token, of that name: CKA_LABEL is the text, because CKA_VALUE cannot be changed in SoftHSM."""
    return {
        Attribute.CLASS: ObjectClass.DATA,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.APPLICATION: name,
        Attribute.LABEL: text,
    }


def data_object_named(name: str) -> Template:
    """Finds the data objects of that name."""
    return {Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: name}


def labelled(label: str) -> Template:
    """Finds every object of that label."""
    return {Attribute.LABEL: label}


def private_key_labelled(label: str, kind: KeyType) -> Template:
    """Finds the private keys of that label and type."""
    return {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: kind, Attribute.LABEL: label}


def _public_half(kind: KeyType, parameters: Template) -> Template:
    return {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: kind,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: False,
        Attribute.VERIFY: True,
        Attribute.ENCRYPT: False,
        Attribute.WRAP: False,
        **parameters,
    }


def _private_half(
    kind: KeyType, use: KeyUse, confinement: Mapping[Attribute, AttributeValue] | Mapping[Attribute, bool]
) -> Template:
    return {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.KEY_TYPE: kind,
        **private_uses(use),
        **confinement,
    }


def private_uses(use: KeyUse) -> Mapping[Attribute, bool]:
    """What a private key of this use may do, and that it may do nothing else."""
    return {
        Attribute.SIGN: use is KeyUse.SIGN,
        Attribute.DECRYPT: use is KeyUse.DECRYPT,
        Attribute.UNWRAP: False,
        Attribute.DERIVE: use is KeyUse.AGREE,
    }
