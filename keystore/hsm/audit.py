"""Is the token as the ceremony left it? Checked at every login, before anything is signed.

The unwrap template of a domain key and the wrap template of the region key cannot be read back, so they are tried: the
attacks that they stop are made on a canary key. A token that lets one through is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keystore.algorithms import KEY_SPECS, KeyUse
from keystore.errors import HsmFault, HsmUnavailable
from keystore.hsm import labels
from keystore.hsm.attributes import pack_mechanisms
from keystore.hsm.mechanisms import generation
from keystore.hsm.return_values import STALE, CryptokiError
from keystore.hsm.templates import CONFINED, key_pair, labelled, private_uses, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm.session import Key, Session

_Expected = Mapping[Attribute, object]
_LOCKED: Final[_Expected] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
    Attribute.TRUSTED: True,
    Attribute.ENCRYPT: False,
    Attribute.DECRYPT: False,
    Attribute.DERIVE: False,
}
_WRAPPING: Final[_Expected] = {
    **_LOCKED,
    Attribute.KEY_TYPE: KeyType.AES,
    Attribute.WRAP: True,
    Attribute.SIGN: False,
    Attribute.VERIFY: False,
    Attribute.ALLOWED_MECHANISMS: pack_mechanisms((Mechanism.AES_KEY_WRAP_PAD,)),
}
_REGION: Final[_Expected] = {**_WRAPPING, Attribute.UNWRAP: False, Attribute.DESTROYABLE: False}
_DOMAIN: Final[_Expected] = {**_WRAPPING, Attribute.UNWRAP: True, Attribute.WRAP_WITH_TRUSTED: True}
_LINK: Final[_Expected] = {
    **_LOCKED,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.SIGN: True,
    Attribute.VERIFY: True,
    Attribute.WRAP: False,
    Attribute.UNWRAP: False,
    Attribute.WRAP_WITH_TRUSTED: True,
    Attribute.ALLOWED_MECHANISMS: pack_mechanisms((Mechanism.SHA256_HMAC,)),
}
_INTEGRITY: Final[_Expected] = {**_LINK, Attribute.DESTROYABLE: False}
_TOKEN_KEY: Final[_Expected] = {
    Attribute.CLASS: ObjectClass.PRIVATE_KEY,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
    Attribute.COPYABLE: False,
    Attribute.ALWAYS_AUTHENTICATE: False,
    Attribute.LOCAL: True,  # made there, and never anywhere else
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.NEVER_EXTRACTABLE: True,
}
_LENGTHS: Final = (32, 0)  # octets; SoftHSM 2.6.1 says 0 of a key that a restore has unwrapped
_KEYS: Final = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
_ALONE: Final = "destroy it, or give the service a token of its own"
_CANARY: Final = KEY_SPECS["ECC_NIST_P256"]


def exactly_one(session: Session, label: str) -> Key:
    """The only object of that label. Raises: `HsmUnavailable` for none, `HsmFault` for several."""
    found = session.find(labelled(label))
    if not found:
        raise HsmUnavailable(f"the token holds no object labelled {label!r}")
    if len(found) > 1:
        raise HsmFault(f"the token holds {len(found)} objects labelled {label!r}: exactly one is meant to be there")
    return found[0]


def audited_region_key(session: Session) -> Key:
    """The region key, after its attributes were read and its wrap template was tried."""
    region = _audited(session, labels.REGION, _REGION)
    with canary(session) as probe:
        try:
            session.wrap(region, probe)
        except CryptokiError as error:
            if error.code in STALE:
                raise
            return region
    raise HsmFault("the region key wraps keys that no officer made: a restore could not be trusted")


def audited_integrity_key(session: Session) -> Key:
    """The integrity key, after its attributes were read."""
    return _audited(session, labels.INTEGRITY, _INTEGRITY)


def audited_link_key(session: Session, label: str) -> Key:
    """The link key of a domain of multi-region keys, after its attributes were read."""
    return _audited(session, label, _LINK)


def audited_token_key(session: Session, label: str, key: Key, use: KeyUse = KeyUse.SIGN) -> Key:
    """A private key that stays on the token, after its attributes were read."""
    return _as_made(session, label, key, {**_TOKEN_KEY, **private_uses(use)})


def check_log_key(session: Session) -> None:
    """Reads the log key's attributes. That it is missing is no fault of the login: it is missed when it is to sign."""
    found = session.find(labelled(labels.LOG))
    if len(found) > 1:
        raise HsmFault(
            f"the token holds {len(found)} objects labelled {labels.LOG!r}: exactly one is meant to be there"
        )
    for key in found:
        _as_made(session, labels.LOG, key, {Attribute.KEY_TYPE: KeyType.EC_EDWARDS})
        audited_token_key(session, labels.LOG, key)


def audited_domain_key(session: Session, label: str) -> Key:
    """The domain key, after its attributes were read and its unwrap template was tried."""
    domain = _audited(session, label, _DOMAIN)
    _try_canary(session, label, domain)
    return domain


def trusted_labels(session: Session) -> list[str]:
    """Labels of all TRUSTED keys. Raises: `HsmFault` if one is not the hierarchy's: it could carry backing keys out."""
    found = [session.read_label(key) for key in session.find({Attribute.TRUSTED: True})]
    for label in found:
        known = labels.parse_domain_label(label) or labels.parse_link_label(label)
        if label not in (labels.REGION, labels.INTEGRITY) and known is None:
            raise HsmFault(f"the token holds a TRUSTED key that no ceremony made, labelled {label!r}")
    return found


def without_strangers(session: Session) -> list[str]:
    """Labels of all secret keys of the token, which is the service's alone.

    Raises: `HsmFault` for a key on it that is not of the hierarchy, and for anything that can be used without a PIN.
    """
    secret = []
    for kind in _KEYS:
        for key in session.find({Attribute.CLASS: kind, Attribute.TOKEN: True}):
            label = session.read_label(key)
            if not _belongs(kind, label):
                raise HsmFault(f"the token holds a {kind.name} that no ceremony made, labelled {label!r}: {_ALONE}")
            if kind is ObjectClass.SECRET_KEY:
                secret.append(label)
    for found in session.find({Attribute.PRIVATE: False, Attribute.TOKEN: True}):
        label = session.read_label(found)
        raise HsmFault(f"the token holds an object that is there without a PIN (PRIVATE), labelled {label!r}: {_ALONE}")
    return secret


def _belongs(kind: ObjectClass, label: str) -> bool:
    if kind is ObjectClass.PRIVATE_KEY:
        return label == labels.LOG or label.startswith(labels.TOKEN_KEY_PREFIX)
    known = label in (labels.REGION, labels.INTEGRITY) or labels.parse_domain_label(label) is not None
    return kind is ObjectClass.SECRET_KEY and (known or labels.parse_link_label(label) is not None)


def _audited(session: Session, label: str, expected: _Expected) -> Key:
    key = _as_made(session, label, exactly_one(session, label), expected)
    if _value(session, label, key, Attribute.VALUE_LEN) not in _LENGTHS:
        raise HsmFault(f"the token's key {label!r} is not as a ceremony makes it: VALUE_LEN")
    return key


def _as_made(session: Session, label: str, key: Key, expected: _Expected) -> Key:
    for attribute, wanted in expected.items():
        if _value(session, label, key, attribute) != wanted:
            raise HsmFault(f"the token's key {label!r} is not as a ceremony makes it: {attribute.name}")
    return key


def _value(session: Session, label: str, key: Key, attribute: Attribute) -> object:
    try:
        return session.read_value(key, attribute)
    except CryptokiError as error:
        if error.code in STALE:
            raise
        raise HsmFault(f"the HSM does not tell {attribute.name} of its key {label!r} ({error})") from error


def _try_canary(session: Session, label: str, domain: Key) -> None:
    with canary(session) as probe:
        wrapped = session.wrap(domain, probe)
        session.destroy(session.unwrap(domain, wrapped, unwrapped(KeyType.EC)))
        for attribute, wanted in CONFINED.items():
            if _accepts(session, domain, wrapped, {attribute: not wanted}):
                raise HsmFault(
                    f"the domain key {label!r} does not protect its keys: it unwraps with another {attribute.name}"
                )


@contextmanager
def canary(session: Session) -> Iterator[Key]:
    """A key made as a customer's is, of nobody's."""
    mechanism, parameters = generation(_CANARY)
    public, private = session.generate_key_pair(mechanism, *key_pair(KeyType.EC, parameters))
    try:
        yield private
    finally:
        session.destroy(private)
        session.destroy(public)


def _accepts(session: Session, domain: Key, wrapped: bytes, changed: Mapping[Attribute, bool]) -> bool:
    try:
        key = session.unwrap(domain, wrapped, {**unwrapped(KeyType.EC), **changed})
    except CryptokiError as error:
        if error.code in STALE:
            raise
        return False
    session.destroy(key)
    return True
