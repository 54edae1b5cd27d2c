"""Signed notes, checkpoints and cosignatures: others' and ours are read, and nothing that is written otherwise."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest

from tests.verifier.log_builder import LogBuilder, cosign, log_signer, sign_note, witness_signer
from verifier import Indeterminate, Rejected
from verifier.notes import (
    MAXIMUM_NOTE,
    MAXIMUM_SIGNATURES,
    Checkpoint,
    cosigned_at,
    parse_base64,
    parse_checkpoint,
    parse_decimal,
    parse_key,
    parse_note,
    require_signature,
)

# Made by others: the key and the note of the documentation of Go's package golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
# The key of Go's checksum database.
SUM_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

SIGNER = log_signer()
WITNESS = witness_signer()
LOG = LogBuilder([b"a", b"b", b"c"])
HEAD = LOG.checkpoint(SIGNER)
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def read(data: bytes) -> Checkpoint:
    """All that is asked of a checkpoint."""
    note = parse_note(data)
    require_signature(note, parse_key(SIGNER.text))
    cosigned_at(note, [parse_key(WITNESS.text)])
    return parse_checkpoint(note.text)


def refused(data: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        read(data)
    return caught.value.code


def test_a_note_of_another_program() -> None:
    key = parse_key(GO_KEY)
    require_signature(parse_note(GO_NOTE), key)
    assert (str(key), key.name, key.key_id.hex()) == (GO_KEY, "PeterNeumann", "c74f20a3")
    assert str(parse_key(SUM_KEY)) == SUM_KEY
    with pytest.raises(Rejected):
        require_signature(parse_note(GO_NOTE.replace(b"answer", b"Answer")), key)


def test_a_checkpoint_with_a_cosignature() -> None:
    note = parse_note(cosign(HEAD, WITNESS, AT))
    require_signature(note, parse_key(SIGNER.text))
    assert parse_checkpoint(note.text) == Checkpoint(SIGNER.name, 3, LOG.root())
    assert cosigned_at(note, [parse_key(WITNESS.text)]) == {WITNESS.name: AT}
    assert cosigned_at(parse_note(HEAD), [parse_key(WITNESS.text)]) == {}


def test_the_text_ends_at_the_last_empty_line() -> None:
    text = b"one\n\n\ntwo\n"
    note = parse_note(sign_note(text, SIGNER))
    assert note.text == text
    require_signature(note, parse_key(SIGNER.text))


def test_unknown_signatures_say_nothing() -> None:
    """signed-note: a line of the same name or of the same id alone is another's."""
    strangers = [witness_signer("stranger"), log_signer("stranger"), log_signer("third")]
    same_name = witness_signer("x")
    same_name = type(same_name)(SIGNER.name, same_name.private_key, 1)
    note = parse_note(sign_note(HEAD[: HEAD.rindex(b"\n\n") + 1], *strangers, same_name, SIGNER))
    assert len(note.signatures) == 5
    require_signature(note, parse_key(SIGNER.text))
    # The same id under another name, and a signature that would be wrong: not ours, so not looked at.
    wrong = f"— other {base64.b64encode(SIGNER.key_id + bytes(64)).decode()}\n".encode()
    require_signature(parse_note(HEAD + wrong), parse_key(SIGNER.text))


def test_a_known_key_must_have_signed_rightly_and_once() -> None:
    signed_by_other = sign_note(HEAD[: HEAD.rindex(b"\n\n") + 1], log_signer("other"))
    assert refused(signed_by_other) == "untrusted_signer"
    line = HEAD[HEAD.rindex(b"\n\n") + 2 :]
    assert refused(HEAD + line) == "signature_invalid"
    assert refused(HEAD.replace(b"\n3\n", b"\n2\n")) == "signature_invalid"
    for size in (1, 63, 65, 72):
        assert refused(HEAD[: -len(line)] + SIGNER.line(bytes(size))) == "signature_invalid"


@pytest.mark.parametrize("seconds", [0, 253402300800, 2**63, 2**64 - 1])
def test_cosignatures_of_no_possible_time(seconds: int) -> None:
    assert refused(cosign(HEAD, WITNESS, seconds)) == "signature_invalid"


def test_the_last_second_that_there_is() -> None:
    note = parse_note(cosign(HEAD, WITNESS, 253402300799))
    assert cosigned_at(note, [parse_key(WITNESS.text)])[WITNESS.name].year == 9999


def test_a_cosignature_is_of_this_text_and_this_time() -> None:
    other = LOG.checkpoint(SIGNER, 2)
    line = cosign(other, WITNESS, AT)[len(other) :]
    assert refused(HEAD + line) == "signature_invalid"
    good = cosign(HEAD, WITNESS, AT)[len(HEAD) :]
    raw = bytearray(base64.b64decode(good.split(b" ")[2]))
    raw[11] ^= 1
    moved = f"— {WITNESS.name} {base64.b64encode(bytes(raw)).decode()}\n".encode()
    assert refused(HEAD + moved) == "signature_invalid"
    for size in (1, 8, 64, 71, 73):
        assert refused(HEAD + WITNESS.line(bytes(size))) == "signature_invalid"


def test_a_log_does_not_cosign_and_a_witness_does_not_sign() -> None:
    """The kind is part of the id: one and the same key in two roles has two ids."""
    as_witness = type(SIGNER)(SIGNER.name, SIGNER.private_key, 4)
    note = parse_note(HEAD)
    assert cosigned_at(note, [parse_key(as_witness.text)]) == {}
    assert cosigned_at(note, [parse_key(WITNESS.text)]) == {}
    with pytest.raises(Rejected):
        require_signature(parse_note(cosign(HEAD, WITNESS, AT)), parse_key(WITNESS.text))
    with pytest.raises(Rejected):
        cosigned_at(note, [parse_key(SIGNER.text)])


TEXT, LINE = HEAD[: HEAD.rindex(b"\n\n") + 1], HEAD[HEAD.rindex(b"\n\n") + 2 :]


@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "a text alone": TEXT,
        "no signature": TEXT + b"\n",
        "no empty line": TEXT + LINE,
        "no line feed at the end": HEAD[:-1],
        "an empty line at the end": HEAD + b"\n",
        "carriage returns": HEAD.replace(b"\n", b"\r\n"),
        "a tabulator": HEAD.replace(b"\n3\n", b"\n3\t\n"),
        "a zero": HEAD.replace(b"\n3\n", b"\n3\x00\n"),
        "no UTF-8": HEAD.replace(b"\n3\n", b"\n3\xff\n"),
        "UTF-16": HEAD.decode().encode("utf-16"),
        "a hyphen for the dash": HEAD.replace("—".encode(), b"-"),
        "no space behind the dash": HEAD.replace("— ".encode(), "—".encode()),
        "two spaces": HEAD.replace("— ".encode(), "—  ".encode()),
        "a name with a space": HEAD + "— a b AAAAAAAAAAA=\n".encode(),
        "a name with a no-break space": HEAD + "— a\u00a0b AAAAAAAAAAA=\n".encode(),
        "a name with a plus": HEAD + "— a+b AAAAAAAAAAA=\n".encode(),
        "no name": HEAD + "—  AAAAAAAAAAA=\n".encode(),
        "no signature in the line": HEAD + "— a\n".encode(),
        "an id alone": HEAD + "— a AAAAAA==\n".encode(),
        "base64 without padding": HEAD.replace(b"=\n", b"\n"),
        "base64 with other last bits": HEAD + "— a AAAAAAAAAAB=\n".encode(),
        "base64url": HEAD + "— a ____________\n".encode(),
        "base64 with a space at its end": HEAD.replace(b"=\n", b"= \n"),
        "too many signatures": HEAD + LINE * MAXIMUM_SIGNATURES,
    }.items(),
    ids=lambda pair: pair[0],
)
def test_notes_that_are_none(data: tuple[str, bytes]) -> None:
    assert refused(data[1]) == "malformed"


def test_sizes_are_bounded() -> None:
    assert refused(b"x" * MAXIMUM_NOTE + HEAD) == "too_large"
    strangers = (log_signer(f"stranger {number}") for number in range(MAXIMUM_SIGNATURES - 1))
    require_signature(parse_note(sign_note(TEXT, SIGNER, *strangers)), parse_key(SIGNER.text))


ROOT = base64.b64encode(LOG.root()).decode()


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n", "o\n3\n", f"o\n3\n{ROOT}", f"\n3\n{ROOT}\n", f"o\n3\n{ROOT}\nextension\n", f"o\n3\n{ROOT}\n\n"),
        *(f"o\n{size}\n{ROOT}\n" for size in ("", "03", "+3", "-1", "3 ", " 3", "3.0", "0x3", "1e3", "3_0", "٣", "³")),
        *(f"o\n{size}\n{ROOT}\n" for size in (2**63, 10**19, "9" * 20, "9" * 5000, "1" + "0" * 60_000)),
        *(f"o\n3\n{root}\n" for root in ("", ROOT[:-1], ROOT + "=", ROOT[4:], ROOT + ROOT, ROOT.replace("=", "A"))),
    ],
)
def test_checkpoints_that_are_none(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_checkpoint(text.encode())
    assert caught.value.code == "malformed"


def test_checkpoints_that_are_some() -> None:
    assert parse_checkpoint(f"a b+c\n0\n{ROOT}\n".encode()).origin == "a b+c"
    assert parse_checkpoint(f"o\n{2**63 - 1}\n{ROOT}\n".encode()).size == 2**63 - 1
    with pytest.raises(Rejected):
        parse_checkpoint(b"\xff\n0\n")


def test_decimals_and_base64() -> None:
    assert [parse_decimal(text) for text in ("0", "7", "10", "007", "", "\uff11")] == [0, 7, 10, None, None, None]
    assert [parse_base64(text) for text in ("", "AA==")] == [b"", b"\0"]
    assert [parse_base64(text) for text in ("AB==", "AA", "A===", "é", "AA==\n")] == [None] * 5


SMALL_ORDER = bytes(32)  # y = 0: a point of order four


def _with_key(public_key: bytes, kind: int = 1, name: str = "a") -> str:
    key_id = hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public_key).hexdigest()[:8]
    return f"{name}+{key_id}+{base64.b64encode(bytes([kind]) + public_key).decode()}"


def test_the_helper_above_makes_good_keys() -> None:
    assert parse_key(_with_key(SIGNER.public_key)).public_key == SIGNER.public_key


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a+b", "a+b+c", "++", SIGNER.public_key.hex(), SIGNER.text[:-1], SIGNER.text + "="),
        *(SIGNER.text.replace("+", "+0", 1), SIGNER.text.upper(), " " + SIGNER.text, SIGNER.text + "\n"),
        *(_with_key(SIGNER.public_key, kind) for kind in (0, 2, 3, 5, 6, 255)),
        *(_with_key(SIGNER.public_key, name=name) for name in ("", "a b", "a\u2003b", "a\x1bb", "a\u200bb")),
        *(_with_key(SIGNER.public_key[:31]), _with_key(SIGNER.public_key + b"\0")),
        *(_with_key(SMALL_ORDER), _with_key(SMALL_ORDER, 4), _with_key(b"\x01" + bytes(31)), _with_key(b"\xff" * 32)),
        SIGNER.text.replace(SIGNER.key_id.hex(), "00000000"),
    ],
)
def test_keys_that_are_none(text: str) -> None:
    with pytest.raises(Indeterminate) as caught:
        parse_key(text)
    assert caught.value.code == "invalid_trust"
