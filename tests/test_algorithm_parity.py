"""The signer and the verifier keep a table of algorithms each, on purpose; here the two are held against each other."""

from __future__ import annotations

import pytest

from keystore.algorithms import ENCRYPTION_ALGORITHMS, KEY_SPECS, SIGNING_ALGORITHMS, KeyKind, algorithms_for
from keystore.algorithms import Purpose as SignerPurpose
from verifier.algorithms import ALGORITHMS, BY_JWS
from verifier.algorithms import ENCRYPTION_ALGORITHMS as VERIFIER_ENCRYPTION
from verifier.trust import PURPOSES as VERIFIER_PURPOSES


def test_both_tables_name_the_same_algorithms() -> None:
    assert list(SIGNING_ALGORITHMS) == list(ALGORITHMS)


@pytest.mark.parametrize("name", SIGNING_ALGORITHMS)
def test_each_row_means_the_same_to_both(name: str) -> None:
    ours, theirs = SIGNING_ALGORITHMS[name], ALGORITHMS[name]
    assert (ours.name, ours.kind.value, ours.scheme.value) == (theirs.name, theirs.key_kind, theirs.scheme)
    assert ours.hash_name == theirs.hash_name
    assert ours.jws == theirs.jws
    assert ours.xml_signature == theirs.xml_signature


def test_both_encrypt_to_rsa_keys_alike() -> None:
    ours = {row.name: row.hash_name for row in ENCRYPTION_ALGORITHMS.values() if row.kind is KeyKind.RSA}
    assert ours == {row.name: row.digest.name.replace("-", "") for row in VERIFIER_ENCRYPTION.values()}
    # The first is the default of both.
    assert algorithms_for(SignerPurpose.ENCRYPT, "RSA_2048") == tuple(VERIFIER_ENCRYPTION)


def test_each_jws_name_leads_back_to_its_row() -> None:
    named = {row.jws: row.name for row in SIGNING_ALGORITHMS.values() if row.jws is not None}
    assert named == {jws: row.name for jws, row in BY_JWS.items()}


@pytest.mark.parametrize("spec", [name for name in KEY_SPECS if algorithms_for(SignerPurpose.JWT, name)])
def test_a_jwt_key_on_a_curve_signs_only_what_the_verifier_takes_from_that_curve(spec: str) -> None:
    curve = KEY_SPECS[spec].curve if KEY_SPECS[spec].kind is KeyKind.EC else None
    for algorithm in algorithms_for(SignerPurpose.JWT, spec):
        assert ALGORITHMS[algorithm].jws_curve == curve


def test_the_verifier_trusts_keys_for_no_purpose_that_the_signer_lacks() -> None:
    assert {purpose.value for purpose in SignerPurpose} >= VERIFIER_PURPOSES
