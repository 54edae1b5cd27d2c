"""Envelopes: what OpenSSL opens of ours, what comes back, and that nothing wrong is ever released."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.verifier import pki
from verifier import (
    EnvelopeHeader,
    Indeterminate,
    Recipient,
    Rejected,
    VerificationError,
    der,
    encrypt,
    encrypt_file,
    open_bytes,
    open_file,
    parse_trust,
    read_header,
    recipient_of,
    seal_file,
)
from verifier.envelope import message as messages
from verifier.envelope.header import HEADER_TYPE, MAXIMUM_CONTEXT_BYTES, encode_recipients, nonce_for, parse_recipients
from verifier.envelope.message import CHUNK_BYTES, MAXIMUM_CONTENT_BYTES, encode_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTEXT = {"case": "4711", "ab": "c", "ü": "€"}
CONTENT = b"attack at dawn, " * 24
KEY_ID = "5f0c3f6e-6a52-4c36-9d6f-3a1f2b7c9d01"
WRAPPED = b"what the service made of it"
DATA_KEY = bytes(range(32))
ALGORITHMS = ("RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1")


def private_key() -> rsa.RSAPrivateKey:
    key = pki.key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def recipient(algorithm: str = ALGORITHMS[0]) -> Recipient:
    return recipient_of(parse_trust(pki.public_pem(private_key())), algorithm=algorithm)


def unwrapped(header: EnvelopeHeader) -> bytes:
    """What the service's decrypt gives for the wrapped data key, by a library that has the private key."""
    digest = hashes.SHA1() if header.algorithm.endswith("SHA_1") else hashes.SHA256()  # noqa: S303 - OAEP's other hash
    return private_key().decrypt(header.wrapped_data_key, padding.OAEP(padding.MGF1(digest), digest, None))


@cache
def envelope() -> bytes:
    """To an RSA key."""
    return encrypt(CONTENT, recipient(), context=CONTEXT)


@cache
def data_key() -> bytes:
    return unwrapped(read_header(io.BytesIO(envelope())))


def seal(folder: Path, name: str = "sealed", content: bytes = CONTENT) -> bytes:
    """An envelope with a data key of the service."""
    seal_file(
        io.BytesIO(content),
        folder / name,
        data_key=DATA_KEY,
        wrapped_data_key=WRAPPED,
        key_id=KEY_ID,
        context=CONTEXT,
    )
    return (folder / name).read_bytes()


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(pki.private_pem(private_key()))
    return path


# What OpenSSL makes of it


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssl_decrypts_a_bare_ciphertext(tmp_path: Path, key_file: Path, algorithm: str) -> None:
    to = recipient(algorithm)
    limit = {"RSAES_OAEP_SHA_256": 190, "RSAES_OAEP_SHA_1": 214}[algorithm]
    assert to.maximum_plaintext == limit
    plaintext = os.urandom(limit)
    ciphertext = encrypt(plaintext, to)
    assert len(ciphertext) == 256
    (tmp_path / "c").write_bytes(ciphertext)
    name = algorithm.removeprefix("RSAES_OAEP_").replace("_", "").lower()
    padding_options = ("rsa_padding_mode:oaep", f"rsa_oaep_md:{name}", f"rsa_mgf1_md:{name}")
    options = [word for option in padding_options for word in ("-pkeyopt", option)]
    assert openssl("pkeyutl", "-decrypt", "-inkey", key_file, "-in", tmp_path / "c", *options).stdout == plaintext


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssl_opens_an_envelope_and_refuses_a_changed_one(tmp_path: Path, key_file: Path, algorithm: str) -> None:
    content = os.urandom(2 * CHUNK_BYTES + 17)
    sealed = encrypt(content, recipient(algorithm), context=CONTEXT)
    (tmp_path / "e").write_bytes(sealed)
    command = ("cms", "-decrypt", "-inform", "DER", "-in", tmp_path / "e", "-inkey", key_file)
    assert openssl(*command).stdout == content
    (tmp_path / "e").write_bytes(sealed[:-20] + bytes((sealed[-20] ^ 1,)) + sealed[-19:])
    assert openssl(*command).returncode != 0


def test_openssl_does_not_look_at_the_header(tmp_path: Path, key_file: Path) -> None:
    """A limit that the README tells: who needs the context opens with our reader."""
    (tmp_path / "e").write_bytes(envelope().replace(b"4711", b"4712"))
    command = ("cms", "-decrypt", "-inform", "DER", "-in", tmp_path / "e", "-inkey", key_file)
    assert openssl(*command).stdout == CONTENT
    with pytest.raises(Rejected, match="nonce is not the one of its header"):
        open_bytes((tmp_path / "e").read_bytes(), data_key())


def test_openssl_opens_an_envelope_with_the_data_key(tmp_path: Path) -> None:
    seal(tmp_path)
    command = ("cms", "-decrypt", "-inform", "DER", "-in", tmp_path / "sealed", "-secretkeyid", KEY_ID.encode().hex())
    assert openssl(*command, "-secretkey", DATA_KEY.hex()).stdout == CONTENT
    assert openssl(*command, "-secretkey", bytes(32).hex()).returncode != 0


def test_an_envelope_of_openssl_is_told_apart(tmp_path: Path) -> None:
    """It is sound, but its header is not ours and not bound: it is not opened, nor called wrong."""
    (tmp_path / "c.pem").write_bytes(pki.pem(pki.issue("x", private_key()).certificate))
    (tmp_path / "p").write_bytes(CONTENT)
    oaep = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256")
    command = ("cms", "-encrypt", "-binary", "-aes-256-gcm", "-in", tmp_path / "p", "-outform", "DER")
    made = openssl(*command, "-recip", tmp_path / "c.pem", *oaep).stdout
    assert messages.looks_like_envelope(made[:32])
    with pytest.raises(Indeterminate, match="unsupported_format"):
        read_header(io.BytesIO(made))


# There and back


@pytest.mark.parametrize("size", [0, 1, 191, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_file_comes_back(tmp_path: Path, size: int) -> None:
    (tmp_path / "p").write_bytes(os.urandom(size))
    facts = encrypt_file(tmp_path / "p", tmp_path / "e", recipient(), context=CONTEXT)
    assert (facts.form, facts.size, facts.context) == ("envelope", size, CONTEXT)
    header = read_header(tmp_path / "e")
    assert header.key_sha256 == recipient().sha256
    opened = open_file(tmp_path / "e", tmp_path / "q", unwrapped(header), context=CONTEXT)
    assert (opened.size, opened.header) == (size, header)
    assert (tmp_path / "q").read_bytes() == (tmp_path / "p").read_bytes()
    assert (tmp_path / "q").stat().st_mode & 0o777 == 0o600


def test_a_data_key_of_the_service_seals_and_opens(tmp_path: Path) -> None:
    content, header = open_bytes(seal(tmp_path), DATA_KEY)
    assert content == CONTENT
    assert (header.algorithm, header.wrapped_data_key, header.key_id) == ("SYMMETRIC_DEFAULT", WRAPPED, KEY_ID)
    assert header.context == CONTEXT
    assert seal(tmp_path, "again") != seal(tmp_path, "and again")


def test_a_small_file_is_a_bare_ciphertext_unless_something_is_to_be_bound() -> None:
    assert len(encrypt(b"small", recipient())) == 256
    for sealed in (
        encrypt(b"small", recipient(), envelope=True),
        encrypt(b"small", recipient(), context={"a": "b"}),
        encrypt(bytes(191), recipient()),
    ):
        assert messages.looks_like_envelope(sealed[:32])
    with pytest.raises(ValueError, match="at most 190"):
        recipient().encrypt(bytes(191))


def test_names_and_values_of_a_context_do_not_run_together() -> None:
    header = read_header(io.BytesIO(envelope()))
    first, second = (encode_recipients(replace(header, context=each)) for each in ({"ab": "c"}, {"a": "bc"}))
    assert nonce_for(first) != nonce_for(second)


# Nothing wrong is released


def test_every_flipped_octet_is_refused(tmp_path: Path) -> None:
    """One bit of each octet, each bit in turn."""
    for whole, key in ((envelope(), data_key()), (seal(tmp_path), DATA_KEY)):
        for offset in range(len(whole)):
            changed = bytearray(whole)
            changed[offset] ^= 1 << offset % 8
            with pytest.raises(VerificationError):
                open_bytes(bytes(changed), key)


def test_every_cut_and_every_extension_is_refused() -> None:
    whole = envelope()
    for length in range(len(whole)):
        with pytest.raises(VerificationError):
            open_bytes(whole[:length], data_key())
    for more in (b"\x00", whole):
        with pytest.raises(Rejected, match="follows its end"):
            open_bytes(whole + more, data_key())


def _swapped(whole: bytes) -> bytes:
    """Two blocks of the content, one for the other."""
    start = len(whole) - len(CONTENT) - 18
    return whole[:start] + whole[start + 16 : start + 32] + whole[start : start + 16] + whole[start + 32 :]


def _without_a_block(whole: bytes) -> bytes:
    header = read_header(io.BytesIO(whole))
    start = len(whole) - len(CONTENT) - 18
    return encode_start(encode_recipients(header), len(CONTENT) - 16) + whole[start + 16 :]


def _other_context(whole: bytes) -> bytes:
    """The nonce goes with the new header, as whoever changes it would see to."""
    header = read_header(io.BytesIO(whole))
    recipients = encode_recipients(replace(header, context={"case": "4712"}))
    return encode_start(recipients, len(CONTENT)) + whole[len(whole) - len(CONTENT) - 18 :]


def _other_key(whole: bytes) -> bytes:
    header = read_header(io.BytesIO(whole))
    other = encode_recipients(replace(header, key_id=KEY_ID.replace("5", "6")))
    return encode_start(other, len(CONTENT)) + whole[len(whole) - len(CONTENT) - 18 :]


@pytest.mark.parametrize("change", [_swapped, _without_a_block, _other_context, _other_key])
def test_what_was_rearranged_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    for whole, key in ((envelope(), data_key()), (seal(tmp_path), DATA_KEY)):
        assert open_bytes(whole, key)[0] == CONTENT
        with pytest.raises(Rejected, match="decryption_failed"):
            open_bytes(change(whole), key)


def test_two_envelopes_of_one_data_key_cannot_be_spliced(tmp_path: Path) -> None:
    first, second = seal(tmp_path, "1"), seal(tmp_path, "2", bytes(reversed(CONTENT)))
    start = len(first) - len(CONTENT) - 18
    for spliced in (first[:start] + second[start:], first[:-16] + second[-16:]):
        with pytest.raises(Rejected, match="decryption_failed"):
            open_bytes(spliced, DATA_KEY)


def test_a_refused_envelope_leaves_nothing_behind(tmp_path: Path) -> None:
    whole = encrypt(os.urandom(3 * CHUNK_BYTES), recipient())
    key = unwrapped(read_header(io.BytesIO(whole)))
    for wrong in (whole[:-1], whole[:-1] + bytes((whole[-1] ^ 1,)), whole[: 2 * CHUNK_BYTES]):
        with pytest.raises(Rejected):
            open_file(io.BytesIO(wrong), tmp_path / "q", key)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(Rejected, match="decryption_failed"):
        open_file(io.BytesIO(whole), tmp_path / "q", bytes(32))
    assert list(tmp_path.iterdir()) == []


def test_another_context_than_the_expected_is_refused() -> None:
    for expected in ({}, {"case": "4711"}, {**CONTEXT, "more": ""}):
        with pytest.raises(Rejected, match="context_mismatch"):
            open_bytes(envelope(), data_key(), context=expected)


def test_a_wrong_data_key_is_refused(tmp_path: Path) -> None:
    for whole in (envelope(), seal(tmp_path)):
        with pytest.raises(Rejected, match="decryption_failed"):
            open_bytes(whole, bytes(32))
        with pytest.raises(ValueError, match="32 octets"):
            open_bytes(whole, DATA_KEY[:16])


# The one encoding


def test_a_header_is_read_as_it_was_written() -> None:
    header = read_header(io.BytesIO(envelope()))
    named = replace(header, key_id=KEY_ID, key_version=7)
    assert parse_recipients(encode_recipients(named)) == named


def test_a_length_in_more_octets_than_it_needs_is_refused() -> None:
    whole = envelope()
    assert whole[:2] == b"\x30\x82"
    with pytest.raises(Rejected, match="malformed"):
        read_header(io.BytesIO(b"\x30\x83\x00" + whole[2:]))


def test_another_encoding_of_the_same_header_is_refused() -> None:
    """By whoever makes the envelope: nonce and lengths are those of the other encoding."""
    recipients = encode_recipients(read_header(io.BytesIO(envelope())))
    fields = der.Reader(der.parse(recipients, der.SET).content)
    first, second = fields.take_any().encoded, fields.take_any().encoded
    case, key = (der.encode(der.UTF8_STRING, each) for each in (b"case", b"4711"))
    pair = der.encode(der.SEQUENCE, case + key)
    assert pair in second
    # Two recipients too many; and a name behind one that sorts after it.
    for changed in (
        first + first + second,
        first + second + second,
        first + second.replace(b"case", b"\xc3\xbf\xc3\xbf"),
    ):
        with pytest.raises(VerificationError):
            read_header(io.BytesIO(encode_start(der.encode(der.SET, changed), 0) + b"\x04\x10" + bytes(16)))


def test_what_is_no_envelope_is_told_so() -> None:
    for data in (b"plain text", b"\x30\x82\x01\x00" + bytes(256)):
        with pytest.raises(Indeterminate, match="unsupported_format"):
            read_header(io.BytesIO(data))
    with pytest.raises(Rejected, match="malformed"):
        read_header(io.BytesIO(b""))


def test_a_later_version_is_not_called_wrong() -> None:
    version = der.encode_object_identifier(HEADER_TYPE)
    at = envelope().index(version) + len(version)
    later = bytearray(envelope())
    at += later[at:].index(b"\x02\x01\x01")
    later[at + 2] = 2
    with pytest.raises(Indeterminate, match="version is 2"):
        read_header(io.BytesIO(bytes(later)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key_id": "with space"}, "key id"),
        ({"key_id": "x" * 2049}, "key id"),
        ({"key_version": 0}, "version"),
        ({"wrapped_data_key": b""}, "wrapped"),
        ({"key_sha256": None}, "SHA-256"),
        ({"algorithm": "SYMMETRIC_DEFAULT"}, "id"),
        ({"algorithm": "ECIES"}, "id"),
        ({"context": {"": "x"}}, "empty"),
        ({"context": {"x": "\ud800"}}, "characters"),
        ({"context": {"x": "y" * MAXIMUM_CONTEXT_BYTES}}, "larger"),
    ],
)
def test_a_header_that_could_not_be_read_is_not_written(changes: dict[str, Any], message: str) -> None:
    header = read_header(io.BytesIO(envelope()))
    with pytest.raises(ValueError, match=message):
        encode_recipients(replace(header, **changes))


# Files


class Growing(io.BytesIO):
    """A file to which something is written after its size was asked."""

    def seek(self, *arguments: int) -> int:
        place = super().seek(*arguments)
        if arguments == (0,):
            self.getbuffer().release()
            super().seek(0, os.SEEK_END)
            self.write(b"more")
            super().seek(0)
        return place


@pytest.mark.parametrize("size", [10, 1000])
def test_a_file_that_changes_its_size_is_not_encrypted(tmp_path: Path, size: int) -> None:
    with pytest.raises(Indeterminate, match="changed its size"):
        encrypt_file(Growing(bytes(size)), tmp_path / "e", recipient())
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("there", "link", "missing/there"):
        with pytest.raises(Indeterminate, match="unwritable_file"):
            encrypt_file(io.BytesIO(b"x"), tmp_path / name, recipient())
        with pytest.raises(Indeterminate, match="unwritable_file"):
            open_file(io.BytesIO(envelope()), tmp_path / name, data_key())
    assert (tmp_path / "there").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "there"]


def test_no_file_is_overwritten_that_comes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(Indeterminate, match="exists already"):
        encrypt_file(io.BytesIO(b"x"), tmp_path / "there", recipient())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_a_pipe_says_that_a_file_is_needed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(Indeterminate, match="write it to one first"):
        encrypt_file(pipe, tmp_path / "e", recipient())
    with pytest.raises(Indeterminate, match="unreadable_file"):
        encrypt_file(tmp_path / "absent", tmp_path / "e", recipient())
    with pytest.raises(Indeterminate, match="unreadable_file"):
        encrypt_file(tmp_path, tmp_path / "e", recipient())


def test_a_file_too_large_for_one_nonce_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(MAXIMUM_CONTENT_BYTES + 1)
    with pytest.raises(Indeterminate, match="unsupported_size"):
        encrypt_file(tmp_path / "sparse", tmp_path / "e", recipient())
