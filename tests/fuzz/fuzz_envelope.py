"""Envelopes: the header, the frame around the content, and their opening with a data key."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Final

from tests.verifier import pki
from verifier.envelope import NO_CONTEXT, encrypt, open_bytes, read_header, recipient_of
from verifier.envelope.header import EnvelopeHeader, encode_recipients
from verifier.envelope.message import encode_start
from verifier.errors import VerificationError
from verifier.trust import parse_trust

NAME = "envelope"
DATA_KEY: Final = bytes(32)


def seeds() -> list[bytes]:
    """To an RSA key with and without a context, and by a data key of the service."""
    recipient = recipient_of(parse_trust(pki.public_pem(pki.key("rsa2048"))))
    by_data_key = EnvelopeHeader("SYMMETRIC_DEFAULT", b"wrapped", "some-key", None, None, NO_CONTEXT, bytes(40))
    recipients = encode_recipients(replace(by_data_key, context={"a": "b", "c": ""}))
    return [
        encrypt(b"content", recipient, envelope=True),
        encrypt(b"content", recipient, context={"case": "4711", "ü": "€"}),
        encode_start(recipients, 7) + b"content" + b"\x04\x10" + bytes(16),
    ]


def one(data: bytes) -> None:
    """Read, and if there is a header, written again: of one header there is one encoding."""
    try:
        header = read_header(io.BytesIO(data))
        assert encode_recipients(header) in data
        open_bytes(data, DATA_KEY)
    except VerificationError:
        return
    raise AssertionError("an envelope opened with a key that is not its own")
