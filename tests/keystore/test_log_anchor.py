"""The log key signs, and the HSM keeps the last head: forwards only, whoever writes and whenever they are killed."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keystore.api import BackingKey
from keystore.errors import CeremonyError, HsmFault, HsmUnavailable, IntegrityFailure
from keystore.hsm import open_token
from keystore.hsm.connection import file_lock
from keystore.hsm.labels import LOG_HEADS
from keystore.hsm.templates import data_object, data_object_named
from keystore.log_anchor import EMPTY_ROOT, KeptHead, LogAnchor, begin_log
from tests.hsm_support import log_key_missing, make_token
from tests.keystore.support import Place, TokenProxy, empty_kept_head, intent_for, make_place, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.algorithms import SigningAlgorithm
    from keystore.hsm import Token
    from tests.hsm_support import TestToken

KILLS = 20
TEXT = b"sealmark/000000000000/us-east-1/0123456789abcdef\n1\n" + b"x" * 45


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, token: Token) -> Iterator[Place]:
    with make_place(tmp_path_factory.mktemp("log"), token) as made:
        yield made


@pytest.fixture
def place(shared: Place) -> Place:
    """One database for all tests of this file, whose HSM keeps the head that a ceremony leaves."""
    empty_kept_head(shared.token, shared.warm.log.origin)
    return shared


def root(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def text_of(origin: str, size: int | str, octets: bytes) -> str:
    return f"sealmark log head v1\n{origin}\n{size}\n{base64.b64encode(octets).decode()}\n"


def test_it_signs_with_the_published_key(place: Place) -> None:
    log = place.warm.log
    signature = log.sign(TEXT)
    assert len(signature) == 64
    published = load_der_public_key(log.public_key)
    assert isinstance(published, Ed25519PublicKey)
    published.verify(signature, TEXT)


def test_the_origin_names_deployment_and_key(place: Place) -> None:
    log = place.warm.log
    row = place.warm.store.get("deployment", "deployment")
    assert row is not None
    assert log.public_key == row.octets("log_public_key")
    assert log.origin == f"sealmark/000000000000/us-east-1/{hashlib.sha256(log.public_key).hexdigest()[:16]}"


def test_what_does_not_verify_is_not_returned(place: Place) -> None:
    class Lying(TokenProxy):
        def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
            return self.real.sign(backing, algorithm, data + b"!")

    log = place.warm.log
    lying = LogAnchor(Lying(place.token), "000000000000", "us-east-1", log.public_key)
    with pytest.raises(HsmFault, match="does not verify"):
        lying.sign(TEXT)
    other = Ed25519PrivateKey.generate().public_key()
    public_key = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(HsmFault, match="does not verify"):
        LogAnchor(place.token, "000000000000", "us-east-1", public_key).sign(TEXT)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", None])
def test_a_published_key_of_another_kind(place: Place, spec: str | None) -> None:
    public_key = b"log" if spec is None else place.warm.create_key(new_key(spec=spec)).versions[0].public_key
    with pytest.raises(HsmFault, match=r"not an Ed25519 key|cannot be read"):
        LogAnchor(place.token, "000000000000", "us-east-1", public_key)


def test_a_missing_log_key_is_missed_at_once_and_taken_up_at_once(
    place: Place, token: Token, founded: TestToken
) -> None:
    """Nobody is logged in anew, and every other key signs on meanwhile."""
    keystore = place.warm
    wrapped, kept = keystore.create_key(new_key()), keystore.create_key(new_key(spec="ECC_NIST_EDWARDS25519"))
    keystore.log.sign(TEXT)
    connection = token._connection
    for _ in range(50):
        with log_key_missing(founded.configuration.pin_file.parent):
            for _ in range(2):
                with pytest.raises(HsmUnavailable, match="0 private keys labelled 'log'"):
                    keystore.log.sign(TEXT)
            keystore.signing_key(intent_for(wrapped)).sign(b"message")
            keystore.signing_key(intent_for(kept)).sign(b"message")
        assert len(keystore.log.sign(TEXT)) == 64
    assert token._connection is connection


def test_heads_go_forwards(place: Place) -> None:
    log = place.warm.log
    assert log.kept_head() == KeptHead(log.origin, 0, EMPTY_ROOT)
    log.keep_head(log.origin, 0, EMPTY_ROOT)
    for size in (1, 2, 2, 7, 1_000_000):
        log.keep_head(log.origin, size, root(size))
        assert log.kept_head() == KeptHead(log.origin, size, root(size))
        with place.fresh() as other:
            assert other.log.kept_head() == KeptHead(log.origin, size, root(size))


def test_no_head_goes_back_or_forks(place: Place) -> None:
    log = place.warm.log
    log.keep_head(log.origin, 7, root(7))
    refused: dict[str, Callable[[], None]] = {
        "goes back from the size 7, which the HSM keeps, to 6": lambda: log.keep_head(log.origin, 6, root(6)),
        "goes back from the size 7, which the HSM keeps, to 0": lambda: log.keep_head(log.origin, 0, EMPTY_ROOT),
        "another root at the size 7 than the HSM keeps": lambda: log.keep_head(log.origin, 7, root(8)),
        "a head of the log other is not kept": lambda: log.keep_head("other", 8, root(8)),
        "a root has 32 octets, not 31": lambda: log.keep_head(log.origin, 8, root(8)[:31]),
    }
    for message, keep in refused.items():
        with pytest.raises(IntegrityFailure, match=message):
            keep()
        assert log.kept_head() == KeptHead(log.origin, 7, root(7))


def test_an_equal_head_is_not_written_again(place: Place) -> None:
    class Counted(TokenProxy):
        written = 0

        def write_text(self, name: str, text: str) -> None:
            self.written += 1
            super().write_text(name, text)

    token = Counted(place.token)
    log = LogAnchor(token, "000000000000", "us-east-1", place.warm.log.public_key)
    for _ in range(3):
        log.keep_head(log.origin, 5, root(5))
    assert token.written == 1


def test_the_newest_head_is_never_the_one_that_is_written_over(place: Place) -> None:
    """Whatever a killed writer leaves of the other text, missing too, the newest is read and the next is kept."""

    class Dying(TokenProxy):
        dead: str | None = None

        def read_text(self, name: str) -> str | None:
            return None if name == self.dead else super().read_text(name)

        def write_text(self, name: str, text: str) -> None:
            self.dead = name
            raise HsmUnavailable("killed")

    whole = place.warm.log
    for size in range(1, 5):
        dying = Dying(place.token)
        log = LogAnchor(dying, "000000000000", "us-east-1", whole.public_key)
        with pytest.raises(HsmUnavailable, match="killed"):
            log.keep_head(log.origin, size, root(size))
        assert log.kept_head() == whole.kept_head()
        assert log.kept_head().size == size - 1
        whole.keep_head(log.origin, size, root(size))


def test_a_text_that_is_missing_is_made_again_beside_the_other(place: Place, token: Token) -> None:
    log = place.warm.log
    log.kept_head()
    connection = token._connection
    for size in range(1, 7):
        if size % 2:
            _destroy(token, place.token.own_name(LOG_HEADS[size % 4 // 2]))
        log.keep_head(log.origin, size, root(size))
        assert log.kept_head() == KeptHead(log.origin, size, root(size))
    assert token._connection is connection  # nobody's login was ended for it


def test_without_any_kept_head_nothing_is_assumed(place: Place, token: Token) -> None:
    log = place.warm.log
    log.keep_head(log.origin, 3, root(3))
    for name in LOG_HEADS:
        _destroy(token, place.token.own_name(name))
    for _ in range(2):
        with pytest.raises(HsmUnavailable, match="the HSM keeps no head of the log"):
            log.kept_head()
        with pytest.raises(HsmUnavailable, match="the HSM keeps no head of the log"):
            log.keep_head(log.origin, 4, root(4))
    place.token.write_text(LOG_HEADS[1], text_of(log.origin, 3, root(3)))
    assert log.kept_head() == KeptHead(log.origin, 3, root(3))


@pytest.mark.parametrize("name", LOG_HEADS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "sealmark log head v2\nORIGIN\n1\nROOT\n",
        "sealmark log head v1\nORIGIN\n01\nROOT\n",
        "sealmark log head v1\nORIGIN\n-1\nROOT\n",
        "sealmark log head v1\nORIGIN\n1\nROOT\n\n",
        "sealmark log head v1\nORIGIN\n1\nROOT",
        "sealmark log head v1\nORIGIN\n1\nAAAA\n",
        "sealmark log head v1\nORIGIN\n1\n" + "A" * 42 + "B=\n",  # not as base64 would be written
        "sealmark log head v1\nORIGIN\n\u0661\nROOT\n",
        "sealmark log head v1\nORIGIN \n1\nROOT\n",
    ],
)
def test_what_is_no_head_is_named(place: Place, name: str, text: str) -> None:
    log = place.warm.log
    root_text = base64.b64encode(root(1)).decode()
    place.token.write_text(name, text.replace("ORIGIN", log.origin).replace("ROOT", root_text))
    with pytest.raises(IntegrityFailure, match=f"'{name}' is not a head of a log"):
        log.kept_head()
    with pytest.raises(IntegrityFailure, match=f"'{name}' is not a head of a log"):
        log.keep_head(log.origin, 2, root(2))


def test_a_head_of_another_log_and_two_roots_of_one_size(place: Place) -> None:
    log = place.warm.log
    place.token.write_text(LOG_HEADS[0], text_of("sealmark/1/x/y", 9, root(9)))
    with pytest.raises(IntegrityFailure, match="'log-head/0' is a head of the log sealmark/1/x/y"):
        log.kept_head()
    for name, octets in zip(LOG_HEADS, (root(9), root(8)), strict=True):
        place.token.write_text(name, text_of(log.origin, 9, octets))
    with pytest.raises(IntegrityFailure, match="two roots of the log at the size 9"):
        log.keep_head(log.origin, 10, root(10))


def test_two_objects_of_one_name(place: Place, token: Token) -> None:
    """Planted with the PIN: which of them would be believed?"""
    log = place.warm.log
    name = place.token.own_name(LOG_HEADS[0])
    connection = token._connection
    del connection.data[name]
    with connection.owning:
        planted = connection.owner.create_data(data_object(name, text_of(log.origin, 0, EMPTY_ROOT)))
    try:
        with pytest.raises(HsmFault, match="2 data objects named"):
            log.kept_head()
    finally:
        connection.owner.destroy(planted)
    assert log.kept_head().size == 0


def test_a_lost_login_is_not_taken_for_a_missing_object(place: Place, token: Token) -> None:
    """No private object is found by nobody: the log is not missing, this process has to log in again."""
    log = place.warm.log
    log.keep_head(log.origin, 1, root(1))
    asked: list[Callable[[], object]] = [log.kept_head, lambda: log.sign(TEXT)]
    for ask in asked:
        connection = token._connection
        connection.data.clear()
        connection.cache.remove(("log", "log"), lambda _: None)
        connection.owner.logout()
        ask()
        assert token._connection is not connection


def test_a_full_disk_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    log = place.warm.log
    log.keep_head(log.origin, 1, root(1))
    with monkeypatch.context() as full:
        full.setattr("keystore.hsm.data_objects._ROOM", 1 << 80)
        with pytest.raises(HsmUnavailable, match=r"the disk of .* is full"):
            log.keep_head(log.origin, 2, root(2))
        assert log.kept_head().size == 1
        assert len(log.sign(TEXT)) == 64
    log.keep_head(log.origin, 2, root(2))
    assert log.kept_head().size == 2


# Forks writers without loading PKCS#11 itself; each says what it has kept until it is killed.
WRITERS = """
import hashlib, os, random, signal, sys, time
from pathlib import Path
from keystore.configuration import StateDirectory, hsm_configuration
from keystore.hsm import open_token
from keystore.log_anchor import LogAnchor

def write(out):
    token = open_token(hsm_configuration(StateDirectory(Path(sys.argv[1])), sys.argv[2]), sessions=1)
    log = LogAnchor(token, "000000000000", "us-east-1", bytes.fromhex(sys.argv[3]))
    size = log.kept_head().size
    while True:
        os.write(out, b"%d " % size)
        size += 1
        log.keep_head(log.origin, size, hashlib.sha256(size.to_bytes(8, "big")).digest())

for line in sys.stdin:
    told, out = os.pipe()
    child = os.fork()
    if not child:
        try:
            write(out)
        finally:
            os._exit(1)
    os.close(out)
    said = os.read(told, 20)
    while said.count(b" ") <= int(line):
        said += os.read(told, 20)
    time.sleep(random.random() * 0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while octets := os.read(told, 65536):
        said += octets
    os.close(told)
    print(said.decode().split()[-1], flush=True)
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_the_newest_head(tmp_path: Path) -> None:
    """What another process kept is seen by this one at once, and whatever is torn is not what was kept last."""
    own = make_token(tmp_path)
    opened = open_token(own.configuration)
    log = LogAnchor(opened, "000000000000", "us-east-1", own.hierarchy.log_public_key)
    begin_log(opened, log.origin)
    uri = f"pkcs11:token=sealmark?module-path={own.configuration.module}&pin-source=file:hsm.pin"
    command = [sys.executable, "-c", WRITERS, str(tmp_path), uri, log.public_key.hex()]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for number in range(KILLS):
            writers.stdin.write(f"{number % 4}\n")  # heads to keep before it is killed
            writers.stdin.flush()
            told = int(writers.stdout.readline())
            head = log.kept_head()
            assert head.size in (told, told + 1)  # killed between the write and its word of it
            assert head.root == (root(head.size) if head.size else EMPTY_ROOT)
        writers.stdin.close()
    assert log.kept_head().size >= KILLS
    opened.close()


def test_threads_keep_heads_in_order(place: Place) -> None:
    """Each head is kept, or refused because a later one is: never is an earlier one left at the end."""
    log = place.warm.log
    refused: list[str] = []

    def keep(start: int) -> None:
        for size in range(start, 60, 4):
            try:
                log.keep_head(log.origin, size, root(size))
            except IntegrityFailure as error:
                refused.append(str(error))

    threads = [threading.Thread(target=keep, args=(start,)) for start in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.kept_head() == KeptHead(log.origin, 59, root(59))
    assert all("goes back" in message for message in refused)


def test_whoever_holds_the_lock_too_long_is_not_waited_for(
    place: Place, founded: TestToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keystore.hsm.token._TEXTS_PATIENCE", 0.01)
    log = place.warm.log
    lock = founded.configuration.lock_file
    with (
        file_lock(lock.with_name(f"{lock.name}.texts")),
        pytest.raises(HsmUnavailable, match="too long"),
    ):
        log.keep_head(log.origin, 1, root(1))
    log.keep_head(log.origin, 1, root(1))


def test_a_log_begins_once(place: Place) -> None:
    with pytest.raises(CeremonyError, match="the token holds 'log-head/0' already"):
        begin_log(place.token, "sealmark/000000000000/us-east-1/other")
    assert place.warm.log.kept_head().origin == place.warm.log.origin


def _destroy(token: Token, name: str) -> None:
    """As another session with the PIN would: the service's own handle is dead and it is not told."""
    connection = token._connection
    with connection.owning:
        (found,) = connection.owner.find(data_object_named(name))
        connection.owner.destroy(found)
