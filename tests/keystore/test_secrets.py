"""Secrets of the service's own: sealed and opened again, by every worker, whatever happens to the key."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystore.algorithms import Purpose
from keystore.api import RevocationReason
from keystore.ciphertexts import OVERHEAD, describe
from keystore.errors import Undecipherable, WrongState
from keystore.keystore import Keystore
from keystore.secrets import NOBODY

if TYPE_CHECKING:
    from tests.keystore.support import Place

SECRET = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CONTEXT = b"access key AKIA"


def test_what_is_sealed_is_opened_with_its_context_alone(place: Place) -> None:
    secrets = place.warm.secrets
    sealed = secrets.seal(SECRET, CONTEXT)
    assert SECRET not in sealed
    assert len(sealed) == OVERHEAD + len(SECRET)
    assert secrets.open(sealed, CONTEXT) == SECRET
    assert secrets.seal(SECRET, CONTEXT) != sealed
    with place.fresh() as fresh:
        assert fresh.secrets.open(sealed, CONTEXT) == SECRET
    for other in (b"", CONTEXT + b"X", b"access key AKIB"):
        with pytest.raises(Undecipherable):
            secrets.open(sealed, other)


def test_the_key_is_nobodys_and_there_is_one(place: Place) -> None:
    place.warm.secrets.seal(SECRET, CONTEXT)
    (key,) = place.warm.find_keys_by_purpose(Purpose.SECRETS)
    assert (key.id, key.policy.document, key.published) == (place.warm.secrets.key_id, NOBODY, False)
    assert key.versions[0].public_key == b""
    assert len(key.versions[0].material_id or "") == 64


def test_workers_that_begin_at_once_use_one_key(place: Place) -> None:
    keystores = [Keystore(place.token, place.warm.database) for _ in range(6)]
    barrier, sealed = threading.Barrier(len(keystores)), []

    def work(keystore: Keystore) -> None:
        barrier.wait()
        sealed.append(keystore.secrets.seal(SECRET, CONTEXT))

    threads = [threading.Thread(target=work, args=(keystore,)) for keystore in keystores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(place.warm.find_keys_by_purpose(Purpose.SECRETS)) == 1
    assert [place.warm.secrets.open(each, CONTEXT) for each in sealed] == [SECRET] * len(keystores)


def test_a_rotated_key_opens_what_it_sealed_before_and_a_revoked_version_does_not(place: Place) -> None:
    secrets, now = place.warm.secrets, place.warm.clock()
    old = secrets.seal(SECRET, CONTEXT)
    rotated = place.warm.rotate(secrets.key_id, activate_at=now, actor="service")
    new = secrets.seal(SECRET, CONTEXT)
    assert [describe(each).version_id for each in (old, new)] == [version.id for version in rotated.versions]
    assert secrets.open(old, CONTEXT) == secrets.open(new, CONTEXT) == SECRET
    place.warm.rotate(
        secrets.key_id,
        activate_at=place.warm.clock() + timedelta(0),
        actor="service",
        revoke=RevocationReason.KEY_COMPROMISE,
    )
    for each in (old, new):
        with pytest.raises(Undecipherable):
            secrets.open(each, CONTEXT)
    place.warm.disable(secrets.key_id)
    with pytest.raises(WrongState):
        secrets.seal(SECRET, CONTEXT)


def test_every_bit_counts(place: Place) -> None:
    secrets = place.warm.secrets
    sealed = secrets.seal(b"s", CONTEXT)
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(Undecipherable):
            secrets.open(bytes(changed), CONTEXT)
    for cut in range(len(sealed)):
        with pytest.raises(Undecipherable):
            secrets.open(sealed[:cut], CONTEXT)
