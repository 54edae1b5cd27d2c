"""The logged-in token of one process: sign, encrypt, seal, generate, re-wrap. Safe to call from many threads.

A fault that a new initialisation may mend (a restarted HSM, dead handles) is mended once and the call made once more; a
wrong PIN is never tried again. Open it after a fork: a process that inherits it is refused.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

from keystore.algorithms import KeyKind, KeyUse
from keystore.errors import HsmFault, HsmUnavailable, Unsupported
from keystore.hsm import labels
from keystore.hsm.audit import (
    audited_domain_key,
    audited_integrity_key,
    audited_link_key,
    audited_region_key,
    check_log_key,
    exactly_one,
    trusted_labels,
    without_strangers,
)
from keystore.hsm.backing import cache_name, generate, open_backing
from keystore.hsm.connection import complete, file_lock, log_in, read_pin
from keystore.hsm.data_objects import read_text, require_room, write_text
from keystore.hsm.imported import bring_in
from keystore.hsm.mechanisms import HMAC_SHA256, KEY_TYPES, key_spec, mac_call, require_use, signing_call
from keystore.hsm.mending import Mender
from keystore.hsm.module import load_module
from keystore.hsm.pins import RefusedPins
from keystore.hsm.readable_pairs import make_readable_pair
from keystore.hsm.return_values import GONE, STALE, CryptokiError, ReturnValue
from keystore.hsm.templates import labelled, private_key_labelled
from keystore.hsm.translation import translate
from keystore.hsm.uses import agree, decrypt, decrypt_raw, encrypt, material_id
from keystore.measures import GAUGES, count
from keystore.stays import STAYS, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized
    from contextlib import AbstractContextManager

    from keystore.algorithms import SigningAlgorithm, UseAlgorithm
    from keystore.api import BackingKey, DataKeyPair, GeneratedKey, TokenInfo
    from keystore.configuration import HsmConfiguration
    from keystore.hsm.cache import CachedKey
    from keystore.hsm.connection import Connection
    from keystore.hsm.session import Key, Session
    from keystore.importable import Material

_Result = TypeVar("_Result")
_TURN: Final = 30.0  # seconds a thread waits for a free session
_TRIES: Final = 5  # with connections of others' making
_HIT: Final = ("opened_key_uses", "hit")
_MISS: Final = ("opened_key_uses", "miss")
_TEXTS_PATIENCE: Final = 1.5  # seconds to wait for another process that changes the token's texts, which takes 0.3 ms
_TEXTS_PAUSE: Final = 0.0005
# A module says these of a bad argument as well as of a lost device: worth a look before everything is torn down.
_AMBIGUOUS: Final = frozenset({ReturnValue.GENERAL_ERROR, ReturnValue.FUNCTION_FAILED, ReturnValue.DEVICE_MEMORY})


class _RetiredError(HsmFault):
    """The domain key of a blob is on the token no more: its domain was rotated."""


class _OvertakenError(CryptokiError):
    """The connection is of an earlier initialisation of the module: every handle of it is dead."""


class Token:
    """A `keystore.api.HardwareToken`. Raises: `HsmUnavailable`, `HsmFault`, `Unsupported`, `ConfigurationError`."""

    def __init__(self, configuration: HsmConfiguration, *, cache_size: int, sessions: int) -> None:
        self._configuration = configuration
        self._cache_size = cache_size
        self._sessions = sessions
        self._module = load_module(configuration.module)
        self._pins = RefusedPins(configuration)
        self._looked_through = False
        self._newer: Callable[[BackingKey], BackingKey | None] | None = None
        self._mender = Mender(self._connect, self._is_current)
        GAUGES["hsm_sessions",] = partial(float, sessions)
        GAUGES["hsm_sessions_free",] = self._free_sessions
        GAUGES["opened_keys",] = lambda: len(self._connection.cache)

    @property
    def info(self) -> TokenInfo:
        return self._connection.info

    def _free_sessions(self) -> float:
        return self._connection.signing.qsize()

    def follow(self, newer: Callable[[BackingKey], BackingKey | None]) -> None:
        """`newer` tells what the database says now of a key that was read before its domain was rotated."""
        self._newer = newer

    @property
    def _connection(self) -> Connection:
        return self._mender.connection

    def seal(self, message: bytes) -> bytes:
        """HMAC-SHA-256 by the integrity key, 32 octets."""
        return self._signing(lambda connection, session: session.sign(HMAC_SHA256, connection.integrity, message))

    def link_seal(self, domain: str, message: bytes) -> bytes:
        """HMAC-SHA-256 by the link key of a domain of multi-region keys, 32 octets: the same in each of its regions."""
        label = labels.link_label(domain)
        return self._signing(
            lambda connection, session: session.sign(HMAC_SHA256, self._link_key(connection, label), message)
        )

    def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        """Raw octets of a signature over a digest (over the message for PureEdDSA), not yet verified by anybody."""
        made: list[bytes] = []
        self.sign_each(backing, algorithm, (data,), made)
        return made[0]

    def sign_each(
        self, backing: BackingKey, algorithm: SigningAlgorithm, inputs: Sequence[bytes], made: list[bytes]
    ) -> None:
        """The same of each, one after the other on one session; what was made before an error is in `made` too."""
        call = signing_call(backing.spec, algorithm.name)
        messages = [call.input(data) for data in inputs]

        def rest(_connection: Connection, session: Session, key: Key) -> None:
            session.sign_each(call.mechanism, key, messages[len(made) :], made)  # after a new login: where it stopped

        self._using(backing, rest, made)
        for signature in made:
            if len(signature) != call.signature_length:
                raise HsmFault(f"the HSM's signature has {len(signature)} octets, not {call.signature_length}")

    def encrypt(self, backing: BackingKey, plaintext: bytes, associated: bytes) -> bytes:
        """AES-256-GCM: nonce, ciphertext and tag, which the key has been seen to open again."""
        _require_kind(backing, KeyKind.AES)
        return self._using(
            backing,
            lambda connection, session, key: encrypt(session, connection.integrity, key, plaintext, associated),
        )

    def decrypt(self, backing: BackingKey, sealed: bytes, associated: bytes) -> bytes:
        """What `encrypt` returned, opened. Raises: `Undecipherable`."""
        _require_kind(backing, KeyKind.AES)
        return self._using(
            backing,
            lambda connection, session, key: decrypt(session, connection.integrity, key, sealed, associated),
        )

    def mac(self, backing: BackingKey, algorithm: UseAlgorithm, message: bytes) -> bytes:
        """A whole HMAC."""
        call = mac_call(backing.spec, algorithm.name)
        made = self._using(backing, lambda _, session, key: session.sign(call, key, message))
        size = hashlib.new(algorithm.hash_name or "").digest_size
        if len(made) != size:
            raise HsmFault(f"the HSM's MAC has {len(made)} octets, not {size}")
        return made

    def decrypt_raw(self, backing: BackingKey, ciphertext: bytes) -> bytes:
        """RSA's private operation alone: nobody sees its result but who takes the padding off, in constant time."""
        _require_kind(backing, KeyKind.RSA)
        return self._using(
            backing, lambda connection, session, key: decrypt_raw(session, connection.integrity, key, ciphertext)
        )

    def agree(self, backing: BackingKey, point: bytes) -> bytes:
        """ECDH with an uncompressed point that is known to be on the curve: the x coordinate, as long as the field."""
        _require_kind(backing, KeyKind.EC)
        size = (key_spec(backing.spec).bits + 7) // 8
        return self._using(backing, lambda _, session, key: agree(session, key, point, size))

    def make_data_key_pair(self, spec: str) -> DataKeyPair:
        """A key pair of the HSM's random for a caller's own use, read and destroyed in it."""
        wanted = key_spec(spec)
        require_use(wanted, KeyUse.SIGN)
        if not wanted.has_public_key:
            raise Unsupported(f"a {spec} key is no pair", field="spec")
        return self._generating(lambda _, session: make_readable_pair(session, wanted))

    def material_id(self, backing: BackingKey) -> str:
        """Hex SHA-256 that tells an AES key's material."""
        _require_kind(backing, KeyKind.AES)
        return self._using(backing, lambda _, session, key: material_id(session, key))

    def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey:
        """A key made in the HSM, wrapped by the domain key; a pair that the module cannot wrap is kept on the token."""
        wanted = key_spec(spec)
        return self._generating(
            lambda connection, session: generate(
                session, wanted, use, self._domain_key(connection, domain_label), token_label
            )
        )

    def bring_in(self, material: Material, domain_label: str, use: KeyUse) -> GeneratedKey:
        """Material from outside, wrapped by the domain key; what was given in the clear is the caller's to wipe."""
        return self._generating(
            lambda connection, session: bring_in(session, material, use, self._domain_key(connection, domain_label))
        )

    def rewrap(self, backing: BackingKey, to_domain_label: str) -> bytes:
        """The same key wrapped under another domain key; it does not leave the HSM in between."""
        if backing.wrapped is None:
            raise Unsupported("a key that stays on the token is not wrapped", field="storage")

        def operation(connection: Connection, session: Session) -> bytes:
            key = self._acquired(connection, backing)
            try:
                return session.wrap(self._domain_key(connection, to_domain_label), key.handle)
            finally:
                connection.cache.release(key, _destroyer(connection))

        return self._signing(operation)

    def opens(self, backing: BackingKey) -> bool:
        """Whether the blob unwraps under its domain key into a key of its spec. A lost HSM is no answer."""

        def operation(connection: Connection, session: Session) -> bool:
            try:
                key = self._acquired(connection, backing)
            except HsmFault:
                return False
            except CryptokiError as error:
                if error.function != "C_UnwrapKey":
                    raise
                session.sign(HMAC_SHA256, connection.integrity, b"alive")  # or the HSM is what failed
                return False
            connection.cache.release(key, _destroyer(connection))
            return True

        return self._signing(operation)

    def destroy(self, backing: BackingKey) -> None:
        """Destroys a key that is kept on the token, and forgets an unwrapped one. Nothing to destroy is no error."""

        def operation(connection: Connection, session: Session) -> None:
            connection.cache.remove(cache_name(backing), _destroyer(connection))
            if backing.token_label is not None:
                kind = KEY_TYPES[key_spec(backing.spec).kind]
                for key in session.find(private_key_labelled(backing.token_label, kind)):
                    session.destroy(key)

        self._signing(operation)

    def holds(self, label: str) -> bool:
        """Whether an object of this label is on the token."""
        return self._signing(lambda _, session: bool(session.find(labelled(label))))

    def read_text(self, name: str) -> str | None:
        """The text of that name on the token; None if there is none."""
        return self._signing(lambda connection, _: read_text(connection, name))

    def write_text(self, name: str, text: str) -> None:
        """Makes or changes the text of that name. A process that is killed meanwhile may leave none."""
        require_room(self._configuration.lock_file.parent)
        self._signing(lambda connection, _: write_text(connection, name, text))

    def texts_locked(self) -> AbstractContextManager[None]:
        """Keeps every other thread and process of the state directory from changing texts that belong together."""
        lock = self._configuration.lock_file
        return file_lock(lock.with_name(f"{lock.name}.texts"), patience=_TEXTS_PATIENCE, pause=_TEXTS_PAUSE)

    def random(self, size: int) -> bytes:
        """Octets of the HSM's own random number generator."""
        return self._signing(lambda _, session: session.random(size))

    def probe(self) -> None:
        """Is the HSM there, with each key of the hierarchy exactly once? Raises if not."""

        def operation(connection: Connection, session: Session) -> None:
            # First, for a stale session: python-pkcs11 complains on standard error of a search that could not begin.
            session.sign(HMAC_SHA256, connection.integrity, b"probe")
            for label in (labels.REGION, labels.INTEGRITY, labels.LOG, *connection.links):
                exactly_one(session, label)
            for label in tuple(connection.domains):
                if _is_retired(session, label):
                    connection.domains.pop(label, None)
                else:
                    exactly_one(session, label)

        self._signing(operation)

    def close(self) -> None:
        """Ends the login of this process."""
        self._mender.close()
        with self._module.gate.exclusive():
            if self._is_current(self._connection):
                self._module.finalise()

    def _signing(self, operation: Callable[[Connection, Session], _Result], made: Sized = ()) -> _Result:
        return self._run(Work.USE, lambda connection: connection.signing, operation, made)

    def _generating(self, operation: Callable[[Connection, Session], _Result]) -> _Result:
        return self._run(Work.GENERATION, lambda connection: connection.generating, operation)

    def _run(
        self,
        work: Work,
        pool: Callable[[Connection], SimpleQueue[Session]],
        operation: Callable[[Connection, Session], _Result],
        made: Sized = (),
    ) -> _Result:
        stay = STAYS.enter(work, made)
        try:
            connection = self._mender.usable()
            try:
                result = self._attempt(connection, pool, operation)
            except CryptokiError as error:
                if not self._may_be_mended(connection, error):
                    raise translate(error) from error
                result = self._once_more(connection, pool, operation)
        except BaseException:
            STAYS.give_up(stay)  # whatever it is, the caller hears of it, or has heard another thing already
            raise
        STAYS.leave(stay)
        return result

    def _may_be_mended(self, connection: Connection, error: CryptokiError) -> bool:
        if isinstance(error, _OvertakenError):
            return True
        if error.code not in STALE or not self._mender.is_worth_it():
            return False
        return error.code not in _AMBIGUOUS or not self._is_alive(connection)

    def _once_more(
        self,
        failed: Connection,
        pool: Callable[[Connection], SimpleQueue[Session]],
        operation: Callable[[Connection, Session], _Result],
    ) -> _Result:
        """With a new connection, and with yet another one where somebody was faster to initialise the module anew."""
        for _ in range(_TRIES):
            failed = self._mender.replaced(failed)
            try:
                return self._attempt(failed, pool, operation)
            except _OvertakenError as error:
                overtaken = error  # the HSM was not asked at all
            except CryptokiError as error:
                if error.code in STALE:
                    self._mender.has_not_helped()
                raise translate(error) from error
        raise translate(overtaken) from overtaken

    def _attempt(
        self,
        connection: Connection,
        pool: Callable[[Connection], SimpleQueue[Session]],
        operation: Callable[[Connection, Session], _Result],
    ) -> _Result:
        if connection.process != os.getpid():
            raise HsmUnavailable("the token was opened before a fork: open it in the process that uses it")
        with self._module.gate:
            if not self._is_current(connection):
                raise _OvertakenError("C_GetSessionInfo", ReturnValue.SESSION_HANDLE_INVALID)
            sessions = pool(connection)
            try:
                session = sessions.get(timeout=_TURN)
            except Empty:
                raise HsmUnavailable("all sessions with the HSM are busy") from None
            try:
                return operation(connection, session)
            finally:
                sessions.put(session)

    def _is_current(self, connection: Connection) -> bool:
        return connection.epoch == self._module.epoch

    def _is_alive(self, connection: Connection) -> bool:
        try:
            self._attempt(
                connection,
                lambda current: current.signing,
                lambda current, session: session.sign(HMAC_SHA256, current.integrity, b"alive"),
            )
        except (CryptokiError, HsmUnavailable):
            return False
        return True

    def _connect(self) -> Connection:
        pin = read_pin(self._configuration)
        require_room(self._configuration.lock_file.parent)
        try:
            with self._module.gate.exclusive():
                return self._login(pin)
        except CryptokiError as error:
            raise translate(error) from error

    def _login(self, pin: bytes) -> Connection:
        login = log_in(self._module, self._configuration, pin, self._pins)
        audited_region_key(login.session)
        integrity = audited_integrity_key(login.session)
        check_log_key(login.session)
        login.session.sign(HMAC_SHA256, integrity, b"alive")
        connection = complete(self._module, login, integrity, cache_size=self._cache_size, sessions=self._sessions)
        found = trusted_labels(login.session)
        if not self._looked_through:  # once: it takes its time where many keys stay on the token
            found += without_strangers(login.session)
            self._looked_through = True
        for label in found:
            if labels.parse_link_label(label) is not None:
                self._link_key(connection, label)
            elif label not in (labels.REGION, labels.INTEGRITY):
                self._domain_key(connection, label)
        return connection

    def _link_key(self, connection: Connection, label: str) -> Key:
        """As `_domain_key`."""
        known = connection.links.get(label)
        if known is not None:
            return known
        with connection.owning:
            if label not in connection.links:
                connection.links[label] = audited_link_key(connection.owner, label)
            return connection.links[label]

    def _domain_key(self, connection: Connection, label: str) -> Key:
        """One that another process made since is found now; each is audited before its first use."""
        known = connection.domains.get(label)
        if known is not None:
            return known
        with connection.owning:
            if label not in connection.domains:
                connection.domains[label] = audited_domain_key(connection.owner, label)
            return connection.domains[label]

    def _using(
        self, backing: BackingKey, use: Callable[[Connection, Session, Key], _Result], made: Sized = ()
    ) -> _Result:
        """Opens the key and uses it; as it is wrapped now, where its domain was rotated since it was read."""
        try:
            return self._used_as_read(backing, use, made)
        except _RetiredError:
            newer = None if self._newer is None else self._newer(backing)
            if newer is None or newer.domain_label == backing.domain_label:
                raise
        return self._used_as_read(newer, use, made)

    def _used_as_read(
        self, backing: BackingKey, use: Callable[[Connection, Session, Key], _Result], made: Sized
    ) -> _Result:
        """One that is kept on the token is looked for once more where it is gone."""

        def operation(connection: Connection, session: Session) -> _Result:
            try:
                return self._used(connection, session, backing, use)
            except CryptokiError as error:
                if backing.token_label is None:
                    raise
                # The object may be another one now, or missing: no reason to end everybody's login.
                connection.cache.remove(cache_name(backing), _destroyer(connection))
                if error.code not in GONE:
                    raise
            return self._used(connection, session, backing, use)

        return self._signing(operation, made)

    def _used(
        self,
        connection: Connection,
        session: Session,
        backing: BackingKey,
        use: Callable[[Connection, Session, Key], _Result],
    ) -> _Result:
        key = self._acquired(connection, backing)
        try:
            return use(connection, session, key.handle)
        finally:
            connection.cache.release(key, _destroyer(connection))

    def _acquired(self, connection: Connection, backing: BackingKey) -> CachedKey[Key]:
        """The key, acquired for one use: unwrapped once, however many threads ask for it at the same time."""
        name = cache_name(backing)
        cached = connection.cache.acquire(name)
        if cached is not None:
            count(_HIT)
            return cached
        count(_MISS)
        with connection.owning:
            cached = connection.cache.acquire(name)
            if cached is not None:
                return cached
            key = self._opened(connection, backing)
            return connection.cache.add(name, key, _destroyer(connection), permanent=backing.wrapped is None)

    def _opened(self, connection: Connection, backing: BackingKey) -> Key:
        label = backing.domain_label
        if label is None:
            return open_backing(connection, backing, None)
        try:
            return open_backing(connection, backing, self._domain_key(connection, label))
        except (CryptokiError, HsmFault, HsmUnavailable) as error:
            if not _is_retired(connection.owner, label):
                raise
            connection.domains.pop(label, None)
            raise _RetiredError(f"key version {backing.version_id} is wrapped by {label!r}, which is gone") from error


def _is_retired(session: Session, label: str) -> bool:
    """Whether a domain key is gone from the token because a newer one of its domain took its place."""
    if session.find(labelled(label)):
        return False
    name, version = labels.parse_domain_label(label) or ("", 0)
    there = map(labels.parse_domain_label, trusted_labels(session))
    return any(found is not None and found[0] == name and found[1] > version for found in there)


def _require_kind(backing: BackingKey, kind: KeyKind) -> None:
    if key_spec(backing.spec).kind is not kind:
        raise Unsupported(f"a {backing.spec} key is not used so", field="algorithm")


def _destroyer(connection: Connection) -> Callable[[Key], None]:
    def destroy(key: Key) -> None:
        # A session object that is gone already, or goes with its session: the signature that was made is still good.
        with connection.owning, suppress(CryptokiError):
            connection.owner.destroy(key)

    return destroy


def open_token(configuration: HsmConfiguration, *, cache_size: int | None = None, sessions: int | None = None) -> Token:
    """Logs this process in and checks the token. Call it after a fork, once per process.

    `cache_size` is a number of unwrapped keys, `sessions` of signatures at one time; the configuration's by default.
    """
    return Token(
        configuration,
        cache_size=configuration.cache_size if cache_size is None else cache_size,
        sessions=configuration.sessions if sessions is None else sessions,
    )
