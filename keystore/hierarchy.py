"""The key hierarchy: region key -> domain keys -> backing keys, made and carried to another token.

The region key wraps the domain keys and the integrity key, for the database; a domain key wraps the backing keys of its
domain. These functions are given a ceremony and return values; they know neither files nor the database.
`docs/attacks.md` is the specification.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from keystore.algorithms import KEY_SPECS
from keystore.errors import CeremonyError, HsmFault
from keystore.hsm import labels
from keystore.hsm.audit import (
    audited_domain_key,
    audited_integrity_key,
    audited_link_key,
    audited_region_key,
    audited_token_key,
    canary,
    exactly_one,
    trusted_labels,
)
from keystore.hsm.mechanisms import AES_GENERATION, HMAC_GENERATION, HMAC_SHA256, KEY_TYPES, generation
from keystore.hsm.public_keys import public_key_info
from keystore.hsm.return_values import CryptokiError
from keystore.hsm.templates import (
    AES_256,
    DOMAIN,
    HMAC_256,
    INTEGRITY,
    REGION,
    TRANSPORT,
    TWIN,
    data_object_named,
    labelled,
    locked,
    of_known_value,
    token_key_pair,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keystore.hsm.attributes import Template
    from keystore.hsm.officer import Ceremony
    from keystore.hsm.session import Key, Session

_REGION_KEY_SIZE: Final = 32  # octets, AES-256
_LOG_SPEC: Final = KEY_SPECS["ECC_NIST_EDWARDS25519"]


@dataclass(frozen=True, slots=True)
class WrappedRoot:
    """A domain key, a link key or the integrity key, wrapped by the region key (AES-KWP), for the database."""

    label: str  # its label on the token, and its id in the database
    wrapped: bytes = field(repr=False)

    @property
    def domain(self) -> tuple[str, int] | None:
        """(name, version) of a domain key, None of the others."""
        return labels.parse_domain_label(self.label)

    @property
    def link(self) -> str | None:
        """The domain's name of a link key, None of the others."""
        return labels.parse_link_label(self.label)


@dataclass(frozen=True, slots=True)
class FoundedHierarchy:
    """What a new token holds. `region_key` is there to be split into shares and then forgotten: see `forget`."""

    roots: tuple[WrappedRoot, ...]
    log_public_key: bytes  # DER SubjectPublicKeyInfo
    region_key: bytearray = field(repr=False)

    def forget(self) -> None:
        """Overwrites the region key, as well as Python can."""
        _overwrite(self.region_key)


def found_hierarchy(ceremony: Ceremony, domains: Sequence[str] = ("default",)) -> FoundedHierarchy:
    """Makes region, domain (version 1), integrity and log keys on an empty token. Raises: `CeremonyError`."""
    wanted = [labels.domain_label(name, 1) for name in domains]
    with ceremony.as_user() as session:
        _refuse_a_token_in_use(session)
    with ceremony.as_officer() as session:
        region = session.generate_key(AES_GENERATION, {**REGION, **AES_256})
        region_key = _export_once(session, region)
        nascent = {label: session.generate_key(AES_GENERATION, {**DOMAIN, **AES_256}) for label in wanted}
        nascent[labels.INTEGRITY] = session.generate_key(HMAC_GENERATION, {**INTEGRITY, **HMAC_256})
    with ceremony.as_user() as session:
        region = _settle(session, region, labels.REGION, destroyable=False)
        roots = tuple(_wrap_and_settle(session, region, label, key) for label, key in nascent.items())
        log_public_key = _make_log_key(session)
        _check_log_key(session)
        _check(session, roots)
    return FoundedHierarchy(roots, log_public_key, region_key)


def add_domain_key(ceremony: Ceremony, label: str) -> WrappedRoot:
    """Makes one more domain key (or one more version of a domain) beside what is there. Raises: `CeremonyError`."""
    if labels.parse_domain_label(label) is None:
        raise CeremonyError(f"not a domain key's label: {label!r}")
    with ceremony.as_user() as session:
        audited_region_key(session)
        if session.find(labelled(label)):
            raise CeremonyError(f"the token holds {label!r} already")
    with ceremony.as_officer() as session:
        nascent = session.generate_key(AES_GENERATION, {**DOMAIN, **AES_256})
    with ceremony.as_user() as session:
        root = _wrap_and_settle(session, audited_region_key(session), label, nascent)
        audited_domain_key(session, label)
        return root


def add_link_key(ceremony: Ceremony, name: str) -> WrappedRoot:
    """Makes the link key of a domain of multi-region keys. Raises: `CeremonyError`."""
    label = labels.link_label(name)
    with ceremony.as_user() as session:
        audited_region_key(session)
        if session.find(labelled(label)):
            raise CeremonyError(f"the token holds {label!r} already")
    with ceremony.as_officer() as session:
        nascent = session.generate_key(HMAC_GENERATION, {**INTEGRITY, **HMAC_256})
    with ceremony.as_user() as session:
        root = _wrap_and_settle(session, audited_region_key(session), label, nascent)
        audited_link_key(session, label)
        return root


def adopt_domain_key(
    ceremony: Ceremony, region_key: bytearray, domain: WrappedRoot, link: WrappedRoot, message: bytes, seal: bytes
) -> tuple[WrappedRoot, WrappedRoot]:
    """Brings a domain key and its link key of another deployment to this token, and wraps both by this region key.

    `region_key` is the other deployment's; the twin that unwraps exists in the officer's session only. What was carried
    is believed if `seal` is the link key's over `message`. A link key that is here already stays. Raises:
    `CeremonyError`, with nothing left on the token, for what is not of this region key or not sealed so.
    """
    with ceremony.as_user() as session:
        audited_region_key(session)
        has_link = bool(session.find(labelled(link.label)))
        if session.find(labelled(domain.label)):
            raise CeremonyError(f"the token holds {domain.label!r} already")
        own = session.sign(HMAC_SHA256, audited_link_key(session, link.label), message) if has_link else seal
        if not compare_digest(own, seal):
            raise CeremonyError(f"what is carried is not of the domain that {link.label!r} on this token belongs to")
    with ceremony.as_officer() as session, _known_key(session, TWIN, region_key) as twin:
        nascent_link = _unwrap_root(session, twin, link)
        nascent = _unwrap_root(session, twin, domain)
        if not compare_digest(session.sign(HMAC_SHA256, nascent_link, message), seal):
            session.destroy(nascent_link)
            session.destroy(nascent)
            raise CeremonyError("what is carried was changed on the way: its seal is another's")
    with ceremony.as_user() as session:
        region = audited_region_key(session)
        if has_link:
            carried_link = WrappedRoot(link.label, session.wrap(region, nascent_link))
            session.destroy(nascent_link)
        else:
            carried_link = _wrap_and_settle(session, region, link.label, nascent_link)
        carried = _wrap_and_settle(session, region, domain.label, nascent)
        audited_link_key(session, link.label)
        audited_domain_key(session, domain.label)
        return carried, carried_link


def destroy_domain_key(ceremony: Ceremony, label: str) -> None:
    """Destroys a domain key that wraps nothing any more, or a link key. One that is gone already is no error."""
    if labels.parse_domain_label(label) is None and labels.parse_link_label(label) is None:
        raise CeremonyError(f"not a domain key's label: {label!r}")
    with ceremony.as_user() as session:
        for key in session.find(labelled(label)):
            session.destroy(key)


def restore_hierarchy(
    ceremony: Ceremony,
    region_key: bytearray,
    roots: Sequence[WrappedRoot],
    check: Callable[[Callable[[bytes], bytes]], None],
) -> None:
    """Brings the same region, domain, link and integrity keys to another token; its log key is a step of its own.

    The region key becomes what it was, a TRUSTED key for wrapping alone, so that the custodians' shares stay good. The
    twin that unwraps exists in the officer's session only. `check` is given the integrity key's seal, and raises if
    what is restored is not as it was: before anything of it is on the token. A token that holds some of these very keys
    keeps them: a restore that was cut short is run again, and one is made on the HSM that the deployment had.

    Raises: `CeremonyError` if a root is not of this region key, or the token holds keys of another deployment.
    """
    with ceremony.as_user() as session:
        if not session.find(labelled(labels.REGION)):
            _refuse_a_token_in_use(session)
    with ceremony.as_officer() as session:
        with _known_key(session, TWIN, region_key) as twin:
            nascent = {root.label: _unwrap_root(session, twin, root) for root in roots}
        check(lambda message: session.sign(HMAC_SHA256, nascent[labels.INTEGRITY], message))
        region = session.create(of_known_value(REGION, region_key))
    with ceremony.as_user() as session:
        if session.find(labelled(labels.REGION)):
            _require_same_region(session, nascent[labels.INTEGRITY], roots)
            session.destroy(region)
        else:
            _settle(session, region, labels.REGION, destroyable=False)
        for label, key in nascent.items():
            if session.find(labelled(label)):
                _require_same(session, label, key)
                session.destroy(key)
            else:
                _settle(session, key, label, destroyable=label != labels.INTEGRITY)
        _check(session, roots)


def _require_same_region(session: Session, integrity: Key, roots: Sequence[WrappedRoot]) -> None:
    """Raises `CeremonyError` unless the token's region key is the one by which the roots are wrapped."""
    held = audited_region_key(session)
    # AES-KWP gives one key under another always the same octets.
    if session.wrap(held, integrity) not in {root.wrapped for root in roots if root.label == labels.INTEGRITY}:
        raise CeremonyError("the token holds 'region' of another deployment: a ceremony needs a token of its own")


def _require_same(session: Session, label: str, nascent: Key) -> None:
    """Raises `CeremonyError` unless the token's key of this label is the one that was brought."""
    held = exactly_one(session, label)
    if labels.parse_domain_label(label) is None:
        message = b"sealmark restore: is this the same key?"
        same = session.sign(HMAC_SHA256, held, message) == session.sign(HMAC_SHA256, nascent, message)
    else:
        with canary(session) as probe:
            same = session.wrap(held, probe) == session.wrap(nascent, probe)
    if not same:
        raise CeremonyError(f"the token holds another key {label!r} than the one to be restored: take another token")


def renew_log_key(ceremony: Ceremony) -> bytes:
    """Destroys the log key and the kept heads, as far as they are there. Returns the public key of a new log key."""
    with ceremony.as_user() as session:
        audited_region_key(session)
        for template in (labelled(labels.LOG), *map(data_object_named, labels.LOG_HEADS)):
            for found in session.find(template):
                session.destroy(found)
        public_key = _make_log_key(session)
        _check_log_key(session)
        return public_key


def _refuse_a_token_in_use(session: Session) -> None:
    try:
        taken = [label for label in (labels.REGION, labels.INTEGRITY, labels.LOG) if session.find(labelled(label))]
        taken += trusted_labels(session)
        taken += [name for name in labels.LOG_HEADS if session.find(data_object_named(name))]
    except HsmFault as error:
        raise CeremonyError(str(error)) from error
    if taken:
        raise CeremonyError(f"the token holds {taken[0]!r} already: a ceremony needs a token of its own")


def _export_once(session: Session, region: Key) -> bytearray:
    """The region key's value, for the custodians' shares: the only time that it leaves, under a key used only here."""
    transport = bytearray(secrets.token_bytes(_REGION_KEY_SIZE))
    try:
        with _known_key(session, TRANSPORT, transport) as carrier:
            wrapped = session.wrap(carrier, region)
        region_key = bytearray(aes_key_unwrap_with_padding(bytes(transport), wrapped))
    except InvalidUnwrap as error:
        raise CeremonyError("the HSM's AES-KWP is not RFC 5649's") from error
    finally:
        _overwrite(transport)
    if len(region_key) != _REGION_KEY_SIZE:
        raise CeremonyError("the HSM made a region key of another length")
    return region_key


@contextmanager
def _known_key(session: Session, template: Template, value: bytearray) -> Iterator[Key]:
    key = session.create(of_known_value(template, value))
    try:
        yield key
    finally:
        session.destroy(key)


def _unwrap_root(session: Session, twin: Key, root: WrappedRoot) -> Key:
    try:
        return session.unwrap(twin, root.wrapped, INTEGRITY if root.domain is None else DOMAIN)
    except CryptokiError as error:
        raise CeremonyError(f"{root.label!r} is not wrapped by this region key ({error})") from error


def _wrap_and_settle(session: Session, region: Key, label: str, nascent: Key) -> WrappedRoot:
    wrapped = session.wrap(region, nascent)
    _settle(session, nascent, label, destroyable=label != labels.INTEGRITY)
    return WrappedRoot(label, wrapped)


def _settle(session: Session, nascent: Key, label: str, *, destroyable: bool) -> Key:
    """The user's private, locked copy on the token; what it was copied from is destroyed."""
    settled = session.copy(nascent, locked(label, destroyable=destroyable))
    session.destroy(nascent)
    return settled


def _make_log_key(session: Session) -> bytes:
    mechanism, parameters = generation(_LOG_SPEC)
    public, _ = session.generate_key_pair(mechanism, *token_key_pair(KEY_TYPES[_LOG_SPEC.kind], parameters, labels.LOG))
    try:
        return public_key_info(session, public, _LOG_SPEC)
    finally:
        session.destroy(public)


def _check(session: Session, roots: Sequence[WrappedRoot]) -> None:
    audited_region_key(session)
    audited_integrity_key(session)
    for root in roots:
        if root.domain is not None:
            audited_domain_key(session, root.label)
        elif root.link is not None:
            audited_link_key(session, root.label)


def _check_log_key(session: Session) -> None:
    audited_token_key(session, labels.LOG, exactly_one(session, labels.LOG))


def _overwrite(secret: bytearray) -> None:
    secret[:] = bytes(len(secret))
