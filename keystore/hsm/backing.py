"""Backing keys: made and wrapped, or kept on the token; unwrapped or found again, and checked to be of their spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute, KeyType

from keystore.algorithms import KeyKind
from keystore.api import GeneratedKey
from keystore.errors import HsmFault, HsmUnavailable
from keystore.hsm.audit import audited_token_key
from keystore.hsm.data_objects import require_login
from keystore.hsm.mechanisms import EC_PARAMETERS, KEY_TYPES, generation, key_spec, require_use, secret_generation
from keystore.hsm.public_keys import public_key_info
from keystore.hsm.return_values import LACKING, CryptokiError, ReturnValue
from keystore.hsm.templates import key_pair, new_secret_key, private_key_labelled, token_key_pair, unwrapped
from keystore.hsm.uses import material_id

if TYPE_CHECKING:
    from pkcs11 import Mechanism

    from keystore.algorithms import KeySpec, KeyUse
    from keystore.api import BackingKey
    from keystore.hsm.connection import Connection
    from keystore.hsm.session import Key, Session

# How a module says that it cannot wrap this kind of key at all.
_CANNOT_WRAP: Final = LACKING | {ReturnValue.KEY_NOT_WRAPPABLE, ReturnValue.KEY_UNEXTRACTABLE}


class _CannotWrapError(Exception):
    """The module cannot wrap this kind of key."""


def cache_name(backing: BackingKey) -> tuple[str, KeyUse, bytes | str | None]:
    """A key wrapped again is another entry, and so is one for another use: blob and use are part of the name."""
    kept = backing.wrapped if backing.wrapped is not None else backing.token_label
    return backing.version_id, backing.use, kept


def generate(session: Session, spec: KeySpec, use: KeyUse, domain: Key, token_label: str) -> GeneratedKey:
    """A key made in the HSM and wrapped by the domain key; a key pair that the module cannot wrap stays on the token.

    Raises: `Unsupported` where a key of this spec has no such use.
    """
    require_use(spec, use)
    mechanism = secret_generation(spec)
    if mechanism is not None:
        return _generate_secret(session, spec, mechanism, domain)
    try:
        return _generate_wrapped(session, spec, use, domain)
    except _CannotWrapError:
        return _generate_on_token(session, spec, use, token_label)


def open_backing(connection: Connection, backing: BackingKey, domain: Key | None) -> Key:
    """The key in the owner's session, for its one use. `domain` is the domain key of a wrapped one."""
    spec, owner = key_spec(backing.spec), connection.owner
    require_use(spec, backing.use)
    if backing.wrapped is None:
        return _found_on_token(connection, spec, backing)
    if domain is None:
        raise HsmFault(f"key version {backing.version_id} names no domain key")
    key = owner.unwrap(domain, backing.wrapped, unwrapped(KEY_TYPES[spec.kind], backing.use))
    if not _is_of_spec(owner, key, spec, backing.wrapped):
        owner.destroy(key)
        raise HsmFault(f"key version {backing.version_id} is not a {spec.name} key")
    return key


def _generate_secret(session: Session, spec: KeySpec, mechanism: Mechanism, domain: Key) -> GeneratedKey:
    key = session.generate_key(mechanism, new_secret_key(KEY_TYPES[spec.kind], spec.bits // 8))
    try:
        material = material_id(session, key) if spec.kind is KeyKind.AES else None
        return GeneratedKey(b"", session.wrap(domain, key), None, material)
    finally:
        session.destroy(key)


def _generate_wrapped(session: Session, spec: KeySpec, use: KeyUse, domain: Key) -> GeneratedKey:
    mechanism, parameters = generation(spec)
    public, private = session.generate_key_pair(mechanism, *key_pair(KEY_TYPES[spec.kind], parameters, use))
    try:
        return GeneratedKey(public_key_info(session, public, spec), session.wrap(domain, private), None)
    except CryptokiError as error:
        if error.function == "C_WrapKey" and error.code in _CANNOT_WRAP:
            raise _CannotWrapError from error
        raise
    finally:
        session.destroy(private)
        session.destroy(public)


def _generate_on_token(session: Session, spec: KeySpec, use: KeyUse, token_label: str) -> GeneratedKey:
    kind = KEY_TYPES[spec.kind]
    if session.find(private_key_labelled(token_label, kind)):
        raise HsmFault(f"the token holds an object labelled {token_label!r} already")
    mechanism, parameters = generation(spec)
    public, private = session.generate_key_pair(mechanism, *token_key_pair(kind, parameters, token_label, use))
    try:
        return GeneratedKey(public_key_info(session, public, spec), None, token_label)
    except BaseException:
        session.destroy(private)
        raise
    finally:
        session.destroy(public)


def _found_on_token(connection: Connection, spec: KeySpec, backing: BackingKey) -> Key:
    label = backing.token_label
    if label is None:
        raise HsmFault("a key version names neither a wrapped key nor a token object")
    found = connection.owner.find(private_key_labelled(label, KEY_TYPES[spec.kind]))
    if not found:
        require_login(connection)
    if len(found) != 1:
        raise HsmUnavailable(f"the token holds {len(found)} private keys labelled {label!r}: one is meant to be there")
    return audited_token_key(connection.owner, label, found[0], backing.use)


def _is_of_spec(session: Session, key: Key, spec: KeySpec, wrapped: bytes) -> bool:
    if spec.kind is KeyKind.RSA:
        return int.from_bytes(session.read(key, Attribute.MODULUS), "big").bit_length() == spec.bits
    if KEY_TYPES[spec.kind] in (KeyType.AES, KeyType.GENERIC_SECRET):
        # SoftHSM 2.6.1 says 0 of an unwrapped key; AES-KWP pads to 8 octets and adds 8 (RFC 5649 section 4.1).
        said, meant = session.read_number(key, Attribute.VALUE_LEN), spec.bits // 8
        return said == meant or (said == 0 and len(wrapped) == -(-meant // 8) * 8 + 8)
    return spec.curve is not None and session.read(key, Attribute.EC_PARAMS) == EC_PARAMETERS[spec.curve]
