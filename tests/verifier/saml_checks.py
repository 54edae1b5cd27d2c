"""What the tests of SAML share: good messages by one identity provider, verified with the right expectations."""

from __future__ import annotations

import pytest
from signxml.algorithms import SignatureMethod

from tests.verifier import pki
from tests.verifier.saml_builder import AUDIENCE, ISSUER, RECIPIENT, REQUEST, Signing, build, identity
from verifier import VerificationError, VerifiedAssertion, verify_saml

IDP = identity()
SIGNING = Signing(IDP)
GOOD = {part: build(sign=part, signing=SIGNING) for part in ("assertion", "response", "both", "bare")}


P256 = identity("p256")
"""An identity provider with a key that signs quickly."""
SMALL = Signing(P256, SignatureMethod.ECDSA_SHA256)


def verify(data: bytes, **options: object) -> VerifiedAssertion:
    expected: dict[str, object] = {
        "certificates": (IDP.certificate, P256.certificate),
        "audience": AUDIENCE,
        "recipient": RECIPIENT,
        "issuer": ISSUER,
        "in_response_to": REQUEST,
        "now": pki.NOW,
    }
    return verify_saml(data, **(expected | options))  # type: ignore[arg-type]


def code(data: bytes, **options: object) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(data, **options)
    return caught.value.code
