"""The form of ciphertexts, octet by octet, and the encoding of contexts: two that differ are never the same octets."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystore.algorithms import Purpose
from keystore.ciphertexts import OVERHEAD, Origin, describe, encode_context, header
from keystore.errors import Undecipherable
from tests.keystore.support import intent_for, new_key

if TYPE_CHECKING:
    from keystore.api import EncryptionKey
    from tests.keystore.support import Place

KEY, VERSION = str(uuid.uuid4()), str(uuid.uuid4())
CONTEXTS = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=4)


def test_a_ciphertext_is_header_nonce_ciphertext_and_tag_under_header_and_context(place: Place) -> None:
    key = place.warm.create_key(new_key(spec="SYMMETRIC_DEFAULT", purpose=Purpose.ENCRYPT))
    version, context = key.versions[0], encode_context({"name": "value"})
    opened = cast("EncryptionKey", place.warm.open_key(intent_for(key)))
    made = opened.encrypt(b"plain", context)
    head = b"\x01\x01" + uuid.UUID(key.id).bytes + uuid.UUID(version.id).bytes
    assert made[:34] == head == header(key.id, version.id)
    assert len(made) == len(b"plain") + OVERHEAD
    assert place.token.decrypt(version.backing, made[34:], head + context) == b"plain"
    with pytest.raises(Undecipherable):
        place.token.decrypt(version.backing, made[34:], context)


def test_what_is_not_of_the_form_is_undecipherable() -> None:
    honest = header(KEY, VERSION) + bytes(28)
    assert describe(honest) == Origin(KEY, VERSION)
    assert describe(b"\x02" + honest[1:]) == Origin(f"mrk-{KEY.replace('-', '')}", VERSION)
    for other in (b"", honest[:-1], b"\x03" + honest[1:], b"\x01\x02" + honest[2:], b"\x00" + honest[1:]):
        with pytest.raises(Undecipherable):
            describe(other)


def test_a_context_is_counted_sorted_and_has_lengths() -> None:
    assert encode_context({}) == b""
    encoded = encode_context({"b": "", "a": "é"})
    assert encoded.hex() == "00000002" + "0000000161" + "00000002c3a9" + "0000000162" + "00000000"


@given(CONTEXTS, CONTEXTS)
def test_contexts_are_the_same_octets_only_if_they_are_the_same(one: dict[str, str], other: dict[str, str]) -> None:
    assert (encode_context(one) == encode_context(other)) is (one == other)
