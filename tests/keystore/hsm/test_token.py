"""The token at work: every spec and algorithm, the closed table, the cache, and faults that a new login mends."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from pkcs11 import Attribute

from keystore.algorithms import KEY_SPECS, PURPOSES, SIGNING_ALGORITHMS, SOFTWARE_ONLY, Purpose, algorithms_for
from keystore.api import BackingKey
from keystore.errors import HsmFault, HsmUnavailable, Unsupported
from keystore.hsm import Token, open_token
from keystore.hsm.module import Module, load_module
from keystore.hsm.return_values import ReturnValue
from keystore.stays import STAYS, Work
from tests.attacks.raw import Injected
from tests.faults.forwarding import until
from tests.hsm_support import DOMAIN, OTHER_DOMAIN, TestToken, make_token
from tests.keystore.hsm.keys import MESSAGE, P256, backing_key, input_of, new_key, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIGEST = input_of(P256)


def module_of(founded: TestToken) -> Module:
    return load_module(founded.configuration.module)


def lose_the_hsm(founded: TestToken) -> None:
    """C_Finalize behind the token's back, as when the HSM's process was restarted."""
    module = module_of(founded)
    with module.gate.exclusive():
        module.native.finalise()


@pytest.mark.parametrize("spec", [spec for spec in PURPOSES[Purpose.GENERAL] if spec not in SOFTWARE_ONLY])
def test_every_algorithm_of_every_spec_verifies(token: Token, spec: str) -> None:
    backing, public_key = new_key(token, f"every-{spec}", spec)
    assert (backing.wrapped is None) is (spec == "ECC_NIST_EDWARDS25519")
    for name in algorithms_for(Purpose.GENERAL, spec):
        algorithm = SIGNING_ALGORITHMS[name]
        verify(public_key, algorithm, token.sign(backing, algorithm, input_of(algorithm)))
    token.destroy(backing)


@pytest.mark.parametrize("spec", KEY_SPECS)
def test_a_pair_outside_the_closed_table_never_reaches_the_hsm(token: Token, spec: str) -> None:
    allowed = set(algorithms_for(Purpose.GENERAL, spec))
    backing = BackingKey("none", spec, DOMAIN, b"never unwrapped", None)
    for name, algorithm in SIGNING_ALGORITHMS.items():
        if name not in allowed:
            with pytest.raises(Unsupported, match="does not sign with"):
                token.sign(backing, algorithm, input_of(algorithm))


@pytest.mark.parametrize("name", [name for name, row in SIGNING_ALGORITHMS.items() if row.hash_name is not None])
def test_a_digest_of_another_length_never_reaches_the_hsm(token: Token, name: str) -> None:
    algorithm = SIGNING_ALGORITHMS[name]
    spec = next(spec for spec in KEY_SPECS if name in algorithms_for(Purpose.GENERAL, spec))
    for data in (b"", input_of(algorithm)[:-1], input_of(algorithm) + b"\0"):
        with pytest.raises(Unsupported, match="octets"):
            token.sign(BackingKey("none", spec, DOMAIN, b"never unwrapped", None), algorithm, data)


def test_unknown_spec(token: Token) -> None:
    with pytest.raises(Unsupported, match="no key spec"):
        token.generate("RSA_1024", DOMAIN, "key/none")


def test_a_blob_of_another_spec_is_refused(token: Token) -> None:
    """A wrapped P-384 key said to be P-256: the mechanism would take it."""
    made = token.generate("ECC_NIST_P384", DOMAIN, "key/none")
    with pytest.raises(HsmFault, match="is not a ECC_NIST_P256 key"):
        token.sign(backing_key("said to be p256", "ECC_NIST_P256", made), P256, DIGEST)


def test_a_forged_blob_costs_no_new_login(token: Token, founded: TestToken) -> None:
    epoch = module_of(founded).epoch
    for forged in (b"\0" * 80, aes_key_wrap_with_padding(b"k" * 32, b"not a key")):
        with pytest.raises(HsmUnavailable):
            token.sign(BackingKey("forged", "ECC_NIST_P256", DOMAIN, forged, None), P256, DIGEST)
    assert module_of(founded).epoch == epoch


def test_seal_is_deterministic_and_keyed_by_the_message(token: Token) -> None:
    assert token.seal(b"row") == token.seal(b"row")
    assert token.seal(b"row") != token.seal(b"rox")
    assert len(token.seal(b"")) == 32


def test_rewrap_moves_a_key_and_keeps_it(token: Token) -> None:
    backing, public_key = new_key(token, "moved")
    moved = BackingKey("moved", backing.spec, OTHER_DOMAIN, token.rewrap(backing, OTHER_DOMAIN), None)
    assert moved.wrapped != backing.wrapped
    verify(public_key, P256, token.sign(moved, P256, DIGEST))
    with pytest.raises(HsmUnavailable):
        token.sign(BackingKey("wrong domain", backing.spec, OTHER_DOMAIN, backing.wrapped, None), P256, DIGEST)


def test_a_token_key_is_destroyed_for_good(token: Token) -> None:
    ed25519 = SIGNING_ALGORITHMS["ED25519_SHA_512"]
    backing, _ = new_key(token, "short-lived", "ECC_NIST_EDWARDS25519")
    token.sign(backing, ed25519, MESSAGE)
    token.destroy(backing)
    token.destroy(backing)
    with pytest.raises(HsmUnavailable, match="0 private keys"):
        token.sign(backing, ed25519, MESSAGE)
    with pytest.raises(Unsupported, match="not wrapped"):
        token.rewrap(backing, OTHER_DOMAIN)


def test_a_label_is_not_given_twice(token: Token) -> None:
    backing, _ = new_key(token, "only-one", "ECC_NIST_EDWARDS25519")
    with pytest.raises(HsmFault, match="already"):
        token.generate("ECC_NIST_EDWARDS25519", DOMAIN, "key/only-one")
    token.destroy(backing)


def test_random_and_info(token: Token) -> None:
    assert len(token.random(33)) == 33
    assert token.random(16) != token.random(16)
    assert (token.info.manufacturer, token.info.label) == ("SoftHSM project", "sealmark")


def test_probe(token: Token) -> None:
    token.probe()


def test_eight_threads_sign_many_times(token: Token) -> None:
    keys = [new_key(token, f"threads-{number}") for number in range(4)]

    def work(number: int) -> int:
        for turn in range(300):
            backing, public_key = keys[(number + turn) % 4]
            message = b"%d of %d" % (turn, number)
            verify(public_key, P256, token.sign(backing, P256, input_of(P256, message)), message)
        return 300

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 2400


def test_eight_threads_unwrap_a_key_once(token: Token, founded: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    backing, _ = new_key(token, "asked for at once")
    unwrapping = Injected(founded.configuration.module, monkeypatch, "C_UnwrapKey")
    lose_the_hsm(founded)
    token.seal(b"a new login")
    unwrapping.calls = 0
    barrier = threading.Barrier(8)

    def work(_: int) -> int:
        barrier.wait()
        return len(token.sign(backing, P256, DIGEST))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [64] * 8
    assert unwrapping.calls == 1


def test_eviction_under_load_destroys_and_brings_back(founded: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten keys through a cache of three, eight threads at once: no handle is used after it was destroyed."""
    unwrapping = Injected(founded.configuration.module, monkeypatch, "C_UnwrapKey")
    small = open_token(founded.configuration, cache_size=3)
    keys = [new_key(small, f"evicted-{number}") for number in range(10)]

    def work(number: int) -> None:
        for turn in range(60):
            backing, public_key = keys[(number * 3 + turn) % 10]
            verify(public_key, P256, small.sign(backing, P256, DIGEST))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert unwrapping.calls > 50
    assert len(small._connection.cache) == 3
    # Whatever fell out is gone from the HSM: three unwrapped keys and the token's own private objects are left.
    left = small._connection.owner.find({Attribute.TOKEN: False})
    assert len(left) == 3
    small.close()


def test_signing_goes_on_while_an_rsa_key_is_made(token: Token) -> None:
    backing, _ = new_key(token, "meanwhile")
    token.sign(backing, P256, DIGEST)
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(token.generate, "RSA_4096", DOMAIN, "key/none")
        longest, count = 0.0, 0
        while not making.done():
            begin = time.perf_counter()
            token.sign(backing, P256, DIGEST)
            longest = max(longest, time.perf_counter() - begin)
            count += 1
    assert making.result().wrapped is not None
    assert count > 50
    assert longest < 0.25


def test_a_lost_hsm_heals_at_the_next_call(token: Token, founded: TestToken) -> None:
    backing, public_key = new_key(token, "healed")
    token.sign(backing, P256, DIGEST)
    lose_the_hsm(founded)
    verify(public_key, P256, token.sign(backing, P256, DIGEST))
    lose_the_hsm(founded)
    assert len(token.seal(b"row")) == 32
    lose_the_hsm(founded)
    assert token.generate("ECC_NIST_P256", DOMAIN, "key/none").wrapped is not None


def test_a_lost_hsm_heals_under_eight_threads(token: Token, founded: TestToken) -> None:
    backing, public_key = new_key(token, "healed under load")
    stop = threading.Event()
    counts = [0] * 8

    def work(number: int) -> None:
        while not stop.is_set():
            verify(public_key, P256, token.sign(backing, P256, DIGEST))
            counts[number] += 1

    with ThreadPoolExecutor(8) as pool:
        working = [pool.submit(work, number) for number in range(8)]
        try:
            for _ in range(5):
                lose_the_hsm(founded)
                # A call is mended once. It is over for sure when another one has followed it.
                before = list(counts)
                while any(now < then + 2 for now, then in zip(counts, before, strict=True)):
                    assert not any(future.done() for future in working)
                    time.sleep(0.005)
        finally:
            stop.set()
        for future in working:
            future.result()


@pytest.mark.parametrize(
    "code", [ReturnValue.DEVICE_ERROR, ReturnValue.USER_NOT_LOGGED_IN, ReturnValue.SESSION_HANDLE_INVALID]
)
def test_a_device_error_is_mended_once(founded: TestToken, monkeypatch: pytest.MonkeyPatch, code: ReturnValue) -> None:
    monkeypatch.setattr("keystore.hsm.mending._USELESS_FOR", 0.0)
    signing = Injected(founded.configuration.module, monkeypatch, "C_Sign")
    opened = open_token(founded.configuration, sessions=1)
    backing, public_key = new_key(opened, "mended")
    signing.answer(code, 1)
    verify(public_key, P256, opened.sign(backing, P256, DIGEST))
    signing.answer(code, 2)  # the login tries a signature too
    with pytest.raises(HsmUnavailable, match=code.name):
        opened.sign(backing, P256, DIGEST)
    assert signing.times == 0
    healed(opened)
    verify(public_key, P256, opened.sign(backing, P256, DIGEST))
    opened.close()


class _Armed(list[bytes]):
    """What was made, which has the next signatures fail as soon as there are three."""

    def __init__(self, arm: Callable[[], None]) -> None:
        super().__init__()
        self._arm = arm

    def append(self, made: bytes) -> None:
        super().append(made)
        if len(self) == 3:
            self._arm()


def test_a_batch_goes_on_where_it_stopped(founded: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keystore.hsm.mending._USELESS_FOR", 0.0)
    signing = Injected(founded.configuration.module, monkeypatch, "C_Sign")
    opened = open_token(founded.configuration, sessions=1)
    backing, public_key = new_key(opened, "batch")
    made = _Armed(lambda: signing.answer(ReturnValue.DEVICE_ERROR, 1))
    opened.sign_each(backing, P256, [DIGEST] * 6, made)
    assert len(set(made)) == 6
    for signature in made:
        verify(public_key, P256, signature)
    made = _Armed(lambda: signing.answer(ReturnValue.DEVICE_ERROR, 1000))
    with pytest.raises(HsmUnavailable):
        opened.sign_each(backing, P256, [DIGEST] * 6, made)
    assert len(made) == 3  # whoever keeps a record of them is told of those
    signing.answer(ReturnValue.DEVICE_ERROR, 0)
    healed(opened)
    opened.close()


def test_a_fault_of_one_call_does_not_end_everybodys_login(founded: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that has not helped is not made again at once."""
    generating = Injected(founded.configuration.module, monkeypatch, "C_GenerateRandom")
    logins = Injected(founded.configuration.module, monkeypatch, "C_Login")
    monkeypatch.setattr("keystore.hsm.mending._USELESS_FOR", 3600.0)
    opened = open_token(founded.configuration)
    generating.answer(ReturnValue.DEVICE_ERROR, 1000)
    logins.calls = 0
    for _ in range(5):
        with pytest.raises(HsmUnavailable, match="C_GenerateRandom: CKR_DEVICE_ERROR"):
            opened.random(16)
        assert len(opened.seal(b"row")) == 32
    assert logins.calls == 1
    opened.close()


def test_a_refusal_is_not_retried(founded: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    signing = Injected(founded.configuration.module, monkeypatch, "C_Sign")
    opened = open_token(founded.configuration, sessions=2)
    backing, _ = new_key(opened, "refused")
    signing.calls = 0
    signing.answer(ReturnValue.MECHANISM_INVALID, 2)
    with pytest.raises(HsmUnavailable, match="MECHANISM_INVALID"):  # no mistake of whoever calls
        opened.sign(backing, P256, DIGEST)
    with pytest.raises(HsmUnavailable, match="MECHANISM_INVALID"):
        opened.seal(b"row")
    assert signing.calls == 2
    generating = Injected(founded.configuration.module, monkeypatch, "C_GenerateKeyPair")
    generating.answer(ReturnValue.MECHANISM_INVALID, 1)
    with pytest.raises(Unsupported):
        opened.generate("ECC_NIST_P256", DOMAIN, "key/none")
    opened.close()


def test_a_truncated_signature_is_a_fault(founded: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_token(founded.configuration, sessions=1)
    backing, _ = new_key(opened, "truncated")
    session = opened._connection.signing.get()
    monkeypatch.setattr(session, "sign_each", lambda mechanism, key, inputs, made: made.append(b"s" * 63))
    opened._connection.signing.put(session)
    with pytest.raises(HsmFault, match="63 octets, not 64"):
        opened.sign(backing, P256, DIGEST)
    opened.close()


def healed(opened: Token) -> None:
    """Waits until the token is connected again, without a call to the HSM."""
    until(lambda: opened._mender._thread is None, "a new connection")


def test_a_wrong_pin_is_tried_once_by_all_and_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_token(tmp_path)
    logins = Injected(own.configuration.module, monkeypatch, "C_Login")
    opened = open_token(own.configuration)
    right = own.configuration.pin_file.read_bytes()
    own.configuration.pin_file.write_bytes(b"wrong wrong")
    logins.calls = 0
    lose_the_hsm(own)
    for _ in range(5):
        with pytest.raises(HsmUnavailable, match=r"refuses the PIN in .*: it is not tried again\. Write the right"):
            opened.seal(b"row")
    for _ in range(2):  # other processes, and this one after a restart
        with pytest.raises(HsmUnavailable, match="it is not tried again"):
            open_token(own.configuration)
    assert logins.calls == 1
    own.configuration.pin_file.write_bytes(right)
    healed(opened)
    assert len(opened.seal(b"row")) == 32
    assert not (tmp_path / "hsm.refused").exists()
    opened.close()


def test_a_pin_that_is_right_again_is_tried_when_somebody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_token(tmp_path)
    logins = Injected(own.configuration.module, monkeypatch, "C_Login")
    logins.answer(ReturnValue.PIN_INCORRECT, 1)  # the token's PIN was changed, and is changed back
    for _ in range(3):
        with pytest.raises(HsmUnavailable, match=r"remove .*hsm\.refused"):
            open_token(own.configuration)
    assert logins.calls == 1
    mark = tmp_path / "hsm.refused"
    assert mark.stat().st_mode & 0o077 == 0
    assert own.user_pin not in mark.read_bytes()
    mark.unlink()
    open_token(own.configuration).close()
    assert logins.calls == 2


@pytest.mark.parametrize("spoilt", [b"", b"too short", bytes(100)])
def test_a_mark_that_is_spoilt_lets_no_pin_through(tmp_path: Path, spoilt: bytes) -> None:
    own = make_token(tmp_path)
    (tmp_path / "hsm.refused").write_bytes(spoilt)
    with pytest.raises(HsmUnavailable, match="it is not tried again"):
        open_token(own.configuration)


def test_a_refused_pin_is_remembered_where_no_mark_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_token(tmp_path)
    logins = Injected(own.configuration.module, monkeypatch, "C_Login")
    opened = open_token(own.configuration)
    right = own.configuration.pin_file.read_bytes()
    own.configuration.pin_file.write_bytes(b"wrong wrong")
    monkeypatch.setattr(opened._pins, "_mark", tmp_path / "missing" / "hsm.refused")
    logins.calls = 0
    lose_the_hsm(own)
    with pytest.raises(HsmUnavailable, match="stop the service before the token locks itself"):
        opened.seal(b"row")
    until(lambda: "write another there" in str(opened._mender._fault), "the second attempt")
    assert logins.calls == 1
    own.configuration.pin_file.write_bytes(right)
    healed(opened)
    assert len(opened.seal(b"row")) == 32
    opened.close()


def test_a_token_that_is_gone_is_found_when_it_is_back(tmp_path: Path) -> None:
    own = make_token(tmp_path)
    opened = open_token(own.configuration)
    tokens = tmp_path / "hsm" / "tokens"
    tokens.rename(tmp_path / "away")
    tokens.mkdir()
    lose_the_hsm(own)
    for _ in range(5):
        with pytest.raises(HsmUnavailable, match="no token is like the one"):
            opened.seal(b"row")
    tokens.rmdir()
    (tmp_path / "away").rename(tokens)
    healed(opened)  # by itself: nobody has called
    assert len(opened.seal(b"row")) == 32
    opened.close()


def test_what_was_given_up_is_not_released(token: Token, founded: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches gives a call up; what it brings after all is refused to whoever made it."""
    signing = Injected(founded.configuration.module, monkeypatch, "C_Sign")
    given_up: list[tuple[Work, bool, bool]] = []

    def give_up(*_: object) -> None:
        own = [stay for stay in STAYS.now() if stay.thread == threading.get_ident()]
        given_up.extend((stay.work, STAYS.give_up(stay), STAYS.give_up(stay)) for stay in own)

    token.seal(b"connected")
    signing.watch = give_up
    with pytest.raises(HsmUnavailable, match="had been told already"):
        token.seal(b"row")
    assert given_up == [(Work.USE, True, False)]
    signing.watch = None
    assert len(token.seal(b"row")) == 32


def test_two_tokens_of_one_process_do_not_mix_their_handles(token: Token, tmp_path: Path) -> None:
    other = open_token(make_token(tmp_path).configuration)
    here, there = new_key(token, "here"), new_key(other, "there")
    for _ in range(3):
        for opened, (backing, public_key) in ((token, here), (other, there)):
            verify(public_key, P256, opened.sign(backing, P256, DIGEST))
    assert token.seal(b"row") != other.seal(b"row")
    other.close()


def test_two_tokens_that_end_each_others_connections_both_get_through(token: Token, founded: TestToken) -> None:
    """Each begins the module anew; whose connection is ended before it was used makes another one."""
    other = open_token(founded.configuration, sessions=1)
    try:
        expected = token.seal(b"row")
        with ThreadPoolExecutor(4) as pool:
            each = [pool.submit(lambda one: {one.seal(b"row") for _ in range(30)}, one) for one in (token, other) * 2]
            assert [sealed.result() for sealed in each] == [{expected}] * 4
    finally:
        other.close()


def test_a_domain_key_made_by_another_process_is_found(tmp_path: Path) -> None:
    from keystore.hierarchy import add_domain_key
    from keystore.hsm.officer import open_ceremony

    own = make_token(tmp_path)
    opened = open_token(own.configuration)
    with pytest.raises(HsmUnavailable, match="no object labelled"):
        opened.generate("ECC_NIST_P256", "domain/default/2", "key/none")
    with open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony:
        add_domain_key(ceremony, "domain/default/2")
    made = opened.generate("ECC_NIST_P256", "domain/default/2", "key/none")
    backing = backing_key("later", "ECC_NIST_P256", made, "domain/default/2")
    verify(made.public_key, P256, opened.sign(backing, P256, DIGEST))
    opened.close()


def _in_a_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_token_opened_before_a_fork_is_refused_in_the_child(token: Token) -> None:
    token.seal(b"parent")

    def child() -> None:
        with pytest.raises(HsmUnavailable, match="before a fork"):
            token.seal(b"child")

    assert _in_a_child(child) == 0
    assert len(token.seal(b"parent")) == 32


def test_a_closed_token_stays_closed(tmp_path: Path) -> None:
    opened = open_token(make_token(tmp_path).configuration)
    opened.close()
    with pytest.raises(HsmUnavailable, match="closed"):
        opened.seal(b"row")
    opened.close()
