"""One session of python-pkcs11: the few calls that the keystore makes, and every error of theirs by its return value.

A session belongs to one thread at a time. A key's object belongs to the session that made or found it, but its handle
is good in every session of the process until the module is finalised (PKCS#11 v2.40, 2.4): `sign`, `wrap` and `unwrap`
use a key of any session in this one. `destroy`, `copy` and the readings use the key's own session.
Raises: `CryptokiError` everywhere.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, Object, ObjectClass, PKCS11Error, types

from keystore.hsm.attributes import BareAttributes
from keystore.hsm.native import SECURITY_OFFICER, USER
from keystore.hsm.return_values import CryptokiError, ReturnValue, cryptoki_error
from keystore.measures import observe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keystore.hsm.attributes import Template
    from keystore.hsm.mechanisms import Call
    from keystore.hsm.module import Module

__all__ = ["SECURITY_OFFICER", "USER", "Key", "Session"]

Key: TypeAlias = Object
_KEY_WRAP: Final = Mechanism.AES_KEY_WRAP_PAD  # RFC 5649
_HANDLE: Final = attrgetter("handle")  # the library's session has it, its published types do not say so
_BLOCK: Final = 16  # octets, of AES and of a tag
_SIGNED: Final = ("hsm_seconds", "C_Sign")
_LONGEST: Final = 512  # octets of the longest signature of the closed table, RSA-4096
_AS_THE_TEMPLATE_SAYS: Final = MechanismFlag(0)  # uses of a new key, which `BareAttributes` leaves to the template


class _Here:
    """A key as the given session uses it, whichever session its object is of; the base of `_class_here`."""

    __slots__ = ("handle", "session")
    key_type = None  # would choose a default mechanism; every call here names its own

    def __init__(self, session: types.Session, handle: int | None) -> None:
        self.session = session
        self.handle = handle


@lru_cache(maxsize=128)
def _class_here(bases: tuple[type, ...]) -> type:
    """What the module says that a key can do is which of the library's classes it is made of."""
    return type("KeyHere", (_Here, *bases), {})


@contextmanager
def _named(function: str) -> Iterator[None]:
    since = perf_counter()
    try:
        yield
    except PKCS11Error as error:
        raise cryptoki_error(function, error) from error
    finally:
        observe(("hsm_seconds", function), perf_counter() - since)


class Session:
    """An open session of one token."""

    def __init__(self, module: Module, token: types.Token, *, user_pin: bytes | None = None) -> None:
        """Logs the service in where a PIN is given; every other session of the process shares that login."""
        self._native = module.native
        self._turn = module.turn
        self._attributes = BareAttributes()
        pin = None if user_pin is None else _text(user_pin, "C_Login")
        with _named("C_OpenSession" if pin is None else "C_Login"), self._turn:
            self._session = token.open(rw=True, user_pin=pin, attribute_mapper=self._attributes)

    @property
    def handle(self) -> int:
        """CK_SESSION_HANDLE."""
        return int(_HANDLE(self._session))

    def login(self, user: int, pin: bytes) -> None:
        with self._turn:
            self._native.log_in(self.handle, user, pin)

    def logout(self) -> None:
        with self._turn:
            self._native.log_out(self.handle)

    def set_user_pin(self, pin: bytes) -> None:
        """Gives the token's user a PIN; the security officer is logged in."""
        text = _text(pin, "C_InitPIN")
        with _named("C_InitPIN"), self._turn:
            self._session.init_pin(text)

    def find(self, template: Template) -> list[Key]:
        """Every object that matches; the search is always ended, for an abandoned one leaves the session unusable.

        One that fails is ended by the library before this returns, in this thread, and its lock is free again.
        """
        with _named("C_FindObjects"), self._turn:
            return list(self._session.get_objects(dict(template)))

    def generate_key(self, mechanism: Mechanism, template: Template) -> Key:
        with _named("C_GenerateKey"), self._turn:
            return self._session.generate_key(
                _key_type(template),
                key_length=_number(template, Attribute.VALUE_LEN) * 8,
                mechanism=mechanism,
                capabilities=_AS_THE_TEMPLATE_SAYS,
                template=dict(template),
            )

    def generate_key_pair(self, mechanism: Mechanism, public: Template, private: Template) -> tuple[Key, Key]:
        """(public, private)."""
        bits = _number(public, Attribute.MODULUS_BITS) if Attribute.MODULUS_BITS in public else None
        with _named("C_GenerateKeyPair"), self._turn:
            return self._session.generate_keypair(
                _key_type(public),
                key_length=bits,
                mechanism=mechanism,
                capabilities=_AS_THE_TEMPLATE_SAYS,
                public_template=dict(public),
                private_template=dict(private),
            )

    def create(self, template: Template) -> Key:
        """Makes a session object of known value; a `bytearray` is copied nowhere on this side.

        One with a label is found by it: a busy process has many objects open.
        """
        packed = {
            attribute: value if isinstance(value, bytearray) else self._attributes.pack_attribute(attribute, value)
            for attribute, value in template.items()
        }
        with self._turn:
            handle = self._native.create_object(self.handle, packed)
            named = {name: template[name] for name in (Attribute.TOKEN, Attribute.LABEL) if name in template}
            found = [key for key in self.find(named) if key.handle == handle]
        if len(found) != 1:
            raise CryptokiError("C_CreateObject", ReturnValue.OBJECT_HANDLE_INVALID)
        return found[0]

    def create_data(self, template: Template) -> Key:
        """Makes a data object, which holds no secret: the library's copy of the values is left behind in memory."""
        with _named("C_CreateObject"), self._turn:
            return self._session.create_object(dict(template))

    def copy(self, key: Key, template: Template) -> Key:
        with _named("C_CopyObject"), self._turn:
            return key.copy(dict(template))

    def destroy(self, key: Key) -> None:
        with _named("C_DestroyObject"), self._turn:
            key.destroy()

    def read(self, key: Key, attribute: Attribute) -> bytes:
        """The octets of an attribute that holds octets."""
        with _named("C_GetAttributeValue"), self._turn:
            return bytes(key[attribute])

    def read_number(self, key: Key, attribute: Attribute) -> int:
        with _named("C_GetAttributeValue"), self._turn:
            return int(key[attribute])

    def read_label(self, key: Key) -> str:
        with _named("C_GetAttributeValue"), self._turn:
            return str(key[Attribute.LABEL])

    def write_label(self, key: Key, label: str) -> None:
        with _named("C_SetAttributeValue"), self._turn:
            key[Attribute.LABEL] = label

    def read_flag(self, key: Key, attribute: Attribute) -> bool:
        with _named("C_GetAttributeValue"), self._turn:
            return key[attribute] is True

    def read_value(self, key: Key, attribute: Attribute) -> object:
        """As the library unpacks it. Raises: `CryptokiError` also where the key has no such attribute."""
        with _named("C_GetAttributeValue"), self._turn:
            value: object = key[attribute]
            return value

    def wrap(self, wrapping_key: Key, key: Key) -> bytes:
        """AES-KWP (RFC 5649) of the key: PKCS#8 for a private one, the bare value for a secret one."""
        here = self._here(wrapping_key)
        if not isinstance(here, types.WrapMixin) or not isinstance(key, types.Key):
            raise CryptokiError("C_WrapKey", ReturnValue.KEY_FUNCTION_NOT_PERMITTED)
        with _named("C_WrapKey"), self._turn:
            return here.wrap_key(key, mechanism=_KEY_WRAP)

    def unwrap(self, unwrapping_key: Key, wrapped: bytes, template: Template) -> Key:
        here = self._here(unwrapping_key)
        if not isinstance(here, types.UnwrapMixin):
            raise CryptokiError("C_UnwrapKey", ReturnValue.KEY_FUNCTION_NOT_PERMITTED)
        with _named("C_UnwrapKey"), self._turn:
            return here.unwrap_key(
                ObjectClass(_number(template, Attribute.CLASS)),
                _key_type(template),
                wrapped,
                mechanism=_KEY_WRAP,
                capabilities=_AS_THE_TEMPLATE_SAYS,
                template=dict(template),
            )

    def sign(self, call: Call, key: Key, data: bytes) -> bytes:
        """A signature or MAC in one part."""
        made: list[bytes] = []
        self.sign_each(call, key, (data,), made)
        return made[0]

    def sign_each(self, call: Call, key: Key, inputs: Iterable[bytes], made: list[bytes]) -> None:
        """A signature or MAC of each, in one part; what was made before an error is in `made` too. The hot path."""
        here = self._here(key)
        if not isinstance(here, types.SignMixin):
            raise CryptokiError("C_SignInit", ReturnValue.KEY_FUNCTION_NOT_PERMITTED)
        sign, mechanism, parameter = here.sign, call.mechanism, call.parameter
        since = perf_counter()
        try:
            for data in inputs:
                since = perf_counter()
                with self._turn:
                    signature = sign(data, mechanism=mechanism, mechanism_param=parameter, buffer_size=_LONGEST)
                made.append(signature)
                observe(_SIGNED, perf_counter() - since)
        except PKCS11Error as error:
            observe(_SIGNED, perf_counter() - since)
            raise cryptoki_error("C_Sign", error) from error

    def encrypt(self, call: Call, key: Key, data: bytes) -> bytes:
        """In one part. What comes out is longer than `data` by a tag at most."""
        here = self._here(key)
        if not isinstance(here, types.EncryptMixin):
            raise CryptokiError("C_EncryptInit", ReturnValue.KEY_FUNCTION_NOT_PERMITTED)
        with _named("C_Encrypt"), self._turn:
            room = len(data) + _BLOCK
            made = here.encrypt(data, mechanism=call.mechanism, mechanism_param=call.parameter, buffer_size=room)
        return _whole(made)

    def decrypt(self, call: Call, key: Key, data: bytes) -> bytes:
        """In one part. What comes out is no longer than `data`."""
        here = self._here(key)
        if not isinstance(here, types.DecryptMixin):
            raise CryptokiError("C_DecryptInit", ReturnValue.KEY_FUNCTION_NOT_PERMITTED)
        with _named("C_Decrypt"), self._turn:
            room = len(data) + _BLOCK
            made = here.decrypt(data, mechanism=call.mechanism, mechanism_param=call.parameter, buffer_size=room)
        return _whole(made)

    def derive(self, call: Call, key: Key, template: Template) -> Key:
        here = self._here(key)
        if not isinstance(here, types.DeriveMixin):
            raise CryptokiError("C_DeriveKey", ReturnValue.KEY_FUNCTION_NOT_PERMITTED)
        if not isinstance(call.parameter, tuple):
            raise CryptokiError("C_DeriveKey", ReturnValue.MECHANISM_PARAM_INVALID)
        with _named("C_DeriveKey"), self._turn:
            return here.derive_key(
                _key_type(template),
                _number(template, Attribute.VALUE_LEN) * 8,
                mechanism=call.mechanism,
                mechanism_param=call.parameter,
                capabilities=_AS_THE_TEMPLATE_SAYS,
                template=dict(template),
            )

    def random(self, size: int) -> bytes:
        with _named("C_GenerateRandom"), self._turn:
            return self._session.generate_random(size * 8)

    def _here(self, key: Key) -> object:
        return _class_here(type(key).__bases__)(self._session, key.handle)


def _whole(made: bytes | Iterator[bytes]) -> bytes:
    """What the library returns for octets; only for an iterable of them would it return an iterable."""
    if not isinstance(made, bytes):
        raise TypeError("the library returned parts")
    return made


def _key_type(template: Template) -> KeyType:
    return KeyType(_number(template, Attribute.KEY_TYPE))


def _number(template: Template, attribute: Attribute) -> int:
    value = template[attribute]
    if not isinstance(value, int):
        raise TypeError(f"{attribute.name} is not a number")
    return value


def _text(pin: bytes, function: str) -> str:
    try:
        return pin.decode()
    except UnicodeDecodeError:
        # Not from the decoder's error, which holds the PIN.
        raise CryptokiError(function, ReturnValue.PIN_INVALID) from None
