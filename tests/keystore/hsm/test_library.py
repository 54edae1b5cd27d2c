"""What stands between the service and python-pkcs11: bare templates, return values, failed searches, one lock."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keystore.algorithms import KEY_SPECS
from keystore.errors import HsmUnavailable
from keystore.hsm import Token, open_token
from keystore.hsm.mechanisms import AES_GENERATION, HMAC_SHA256, generation
from keystore.hsm.module import load_module
from keystore.hsm.officer import open_ceremony
from keystore.hsm.return_values import CryptokiError, ReturnValue
from keystore.hsm.templates import AES_256, CONFINED, REGION, TRANSPORT, key_pair, of_known_value, unwrapped
from keystore.hsm.templates import DOMAIN as DOMAIN_TEMPLATE
from tests.attacks.raw import CAttribute, Injected, attributes_at
from tests.hsm_support import DOMAIN, TestToken, make_token
from tests.keystore.hsm.keys import P256, input_of, new_key, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm.attributes import Template
    from keystore.hsm.session import Session

DIGEST = input_of(P256)


@pytest.fixture
def session(token: Token) -> Iterator[Session]:
    """A session of the pool, in nobody else's hands."""
    token.seal(b"logged in")
    taken = token._connection.signing.get()
    yield taken
    token._connection.signing.put(taken)


def owned(token: Token) -> Session:
    return token._connection.owner


@pytest.mark.parametrize("code", [code for code in ReturnValue if code is not ReturnValue.OK] + [0x80000001, 0x1FF])
def test_every_return_value_comes_through(
    session: Session, founded: TestToken, monkeypatch: pytest.MonkeyPatch, code: ReturnValue
) -> None:
    Injected(founded.configuration.module, monkeypatch, "C_GenerateRandom").answer(code, 1)
    with pytest.raises(CryptokiError) as caught:
        session.random(8)
    assert (caught.value.function, caught.value.code) == ("C_GenerateRandom", code)
    assert len(session.random(8)) == 8


def names(attributes: list[tuple[int, bytes]]) -> list[str]:
    return [Attribute(number).name for number, _ in attributes]


def listed(template: Template) -> list[str]:
    return [attribute.name for attribute in template]


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "RSA_2048"])
def test_a_pair_is_made_of_the_written_templates(
    session: Session, founded: TestToken, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    seen: list[list[str]] = []
    making = Injected(founded.configuration.module, monkeypatch, "C_GenerateKeyPair")
    making.watch = lambda _session, _mechanism, public, n, private, m, *_: seen.extend(
        [names(attributes_at(public, n)), names(attributes_at(private, m))]
    )
    mechanism, parameters = generation(KEY_SPECS[spec])
    kind = {"ECC_NIST_P256": KeyType.EC, "ECC_NIST_EDWARDS25519": KeyType.EC_EDWARDS, "RSA_2048": KeyType.RSA}[spec]
    public, private = key_pair(kind, parameters)
    for made in session.generate_key_pair(mechanism, public, private):
        session.destroy(made)
    assert sorted(seen[0]) == sorted(listed(public))
    assert seen[1] == listed(private)


def test_an_unwrapped_key_is_of_the_written_template(
    token: Token, founded: TestToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bytes]] = []
    unwrapping = Injected(founded.configuration.module, monkeypatch, "C_UnwrapKey")
    unwrapping.watch = lambda _session, _mechanism, _key, _blob, _length, template, n, _made: seen.extend(
        attributes_at(template, n)
    )
    backing, _ = new_key(token, "seen")
    token.sign(backing, P256, DIGEST)
    written = unwrapped(KeyType.EC)
    assert [number for number, _ in seen] == [int(attribute) for attribute in written]
    assert {Attribute(number): value for number, value in seen if Attribute(number) in CONFINED} == {
        attribute: bytes([value]) for attribute, value in CONFINED.items()
    }


def test_an_officers_key_is_of_the_written_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_token(tmp_path)
    seen: list[tuple[int, bytes]] = []
    nested: list[tuple[int, bytes]] = []

    def watch(_session: int, _mechanism: int, template: int, count: int, _made: int) -> None:
        seen.extend(attributes_at(template, count))
        for one in (CAttribute * count).from_address(template):
            if one.type == Attribute.UNWRAP_TEMPLATE:
                nested.extend(attributes_at(one.value, one.length // ctypes.sizeof(CAttribute)))

    Injected(own.configuration.module, monkeypatch, "C_GenerateKey").watch = watch
    with (
        open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony,
        ceremony.as_officer() as officer,
    ):
        officer.destroy(officer.generate_key(AES_GENERATION, {**DOMAIN_TEMPLATE, **AES_256}))
    assert sorted(names(seen)) == sorted(listed({**DOMAIN_TEMPLATE, **AES_256}))
    values = {Attribute(number): value for number, value in seen}
    assert values[Attribute.ALLOWED_MECHANISMS] == bytes(ctypes.c_ulong(Mechanism.AES_KEY_WRAP_PAD))
    assert values[Attribute.VALUE_LEN] == bytes(ctypes.c_ulong(32))
    assert [(Attribute(number), value == b"\x01") for number, value in nested] == list(CONFINED.items())


@pytest.mark.parametrize("template", [REGION, TRANSPORT], ids=["region", "transport"])
def test_a_known_key_is_read_where_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: Template
) -> None:
    """So that who keeps it can overwrite the one copy on this side of the module."""
    own = make_token(tmp_path)
    value = bytearray(b"k" * 32)
    places: list[int] = []

    def watch(_session: int, attributes: int, count: int, _made: int) -> None:
        places.extend(one.value for one in (CAttribute * count).from_address(attributes) if one.type == Attribute.VALUE)

    Injected(own.configuration.module, monkeypatch, "C_CreateObject").watch = watch
    with (
        open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony,
        ceremony.as_officer() as officer,
    ):
        officer.destroy(officer.create(of_known_value(template, value)))
    assert places == [ctypes.addressof((ctypes.c_ubyte * 32).from_buffer(value))]
    value.append(0)  # nobody holds on to it


@pytest.mark.parametrize("function", ["C_FindObjectsInit", "C_FindObjects", "C_GetAttributeValue"])
def test_a_failed_search_is_ended_and_leaves_no_lock(
    session: Session, founded: TestToken, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    failing = Injected(founded.configuration.module, monkeypatch, function)
    ending = Injected(founded.configuration.module, monkeypatch, "C_FindObjectsFinal")
    failing.answer(ReturnValue.DEVICE_ERROR, 100)
    with pytest.raises(CryptokiError) as caught:
        session.find({Attribute.LABEL: "integrity"})
    assert caught.value.code == ReturnValue.DEVICE_ERROR
    assert ending.calls == 1
    assert len(complaints) == (function == "C_FindObjectsInit")
    failing.answer(ReturnValue.OK, 0)
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(session.find, {Attribute.LABEL: "integrity"}).result(5)) == 1


def test_an_object_of_an_unknown_class_or_label_is_found_all_the_same(
    session: Session, founded: TestToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = session.generate_key(
        Mechanism.AES_KEY_GEN,
        {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.TOKEN: False}
        | {Attribute.VALUE_LEN: 16, Attribute.PRIVATE: True, Attribute.LABEL: "odd"},
    )

    def vendors(_session: int, _key: int, attributes: int, count: int) -> int:
        for one in (CAttribute * count).from_address(attributes):
            if one.value and one.type == Attribute.CLASS:
                ctypes.memmove(one.value, bytes(ctypes.c_ulong(0x80000007)), one.length)
            elif one.value and one.type == Attribute.LABEL:
                ctypes.memmove(one.value, b"\xffdd", 3)
        return 0

    reading = Injected(founded.configuration.module, monkeypatch, "C_GetAttributeValue")
    reading.after = vendors
    (found,) = session.find({Attribute.LABEL: "odd"})
    assert session.read_label(found) == "\N{REPLACEMENT CHARACTER}dd"
    with pytest.raises(CryptokiError, match="KEY_FUNCTION_NOT_PERMITTED"):
        session.wrap(made, found)
    session.destroy(found)


def test_a_key_does_only_what_the_module_says_it_can(token: Token, session: Session) -> None:
    region, integrity = (session.find({Attribute.LABEL: label})[0] for label in ("region", "integrity"))
    for refused in (
        lambda: session.sign(HMAC_SHA256, region, b"row"),
        lambda: session.wrap(integrity, region),
        lambda: session.unwrap(region, b"blob", unwrapped(KeyType.EC)),
    ):
        with pytest.raises(CryptokiError, match="KEY_FUNCTION_NOT_PERMITTED"):
            refused()


def test_a_pin_that_is_no_text_is_never_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_token(tmp_path)
    logins = Injected(own.configuration.module, monkeypatch, "C_Login")
    own.configuration.pin_file.write_bytes(b"secret\xff\xfe")
    with pytest.raises(HsmUnavailable, match="refuses the PIN") as caught:
        open_token(own.configuration)
    assert logins.calls == 0
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in repr(error)
        assert not isinstance(error, UnicodeError)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_module_that_cannot_lock_is_called_by_one_thread_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_token(tmp_path)
    initialising = Injected(own.configuration.module, monkeypatch, "C_Initialize")
    arguments: list[bool] = []
    initialising.watch = lambda pointer: arguments.append(pointer is not None)
    initialising.answer(ReturnValue.CANT_LOCK, 1)
    inside, most = 0, 0

    def enters(*_: object) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.0005)

    def leaves(*_: object) -> int:
        nonlocal inside
        inside -= 1
        return 0

    calls = [Injected(own.configuration.module, monkeypatch, name) for name in ("C_SignInit", "C_Sign", "C_UnwrapKey")]
    opened = open_token(own.configuration)
    assert arguments == [True, False]
    for call in calls:
        call.watch, call.after = enters, leaves
    keys = [new_key(opened, f"serial-{number}") for number in range(4)]

    def work(number: int) -> None:
        for turn in range(5):
            backing, public_key = keys[(number + turn) % 4]
            verify(public_key, P256, opened.sign(backing, P256, DIGEST))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert most == 1
    with load_module(own.configuration.module).gate.exclusive():
        load_module(own.configuration.module).finalise()
    with ThreadPoolExecutor(8) as pool:  # it locks for itself again after the next login
        list(pool.map(work, range(8)))
    assert most > 1
    opened.close()


LEAVING = """
import ctypes, sys
from pathlib import Path
from tests.attacks.raw import function_list
from keystore.configuration import StateDirectory, hsm_configuration
from keystore.hsm import open_token
configuration = hsm_configuration(StateDirectory(Path(sys.argv[1])), sys.argv[2])
token = open_token(configuration)
function_list(configuration.module).C_Finalize = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
"""


def test_a_process_that_ends_does_not_finalise_past_the_gate(founded: TestToken) -> None:
    """python-pkcs11's object would, from its destructor: here that would abort the process."""
    uri = f"pkcs11:token=sealmark?module-path={founded.configuration.module}&pin-source=file:hsm.pin"
    command = [sys.executable, "-c", LEAVING, str(founded.configuration.pin_file.parent), uri]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_key_made_in_one_session_is_used_in_every_other(token: Token) -> None:
    """Eight threads, each on a session of its own, with the object of the session that unwrapped it."""
    backing, public_key = new_key(token, "everywhere")
    barrier = threading.Barrier(8)

    def work(_: int) -> None:
        barrier.wait()
        verify(public_key, P256, token.sign(backing, P256, DIGEST))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    domain = owned(token).find({Attribute.LABEL: DOMAIN})
    assert len(domain) == 1
