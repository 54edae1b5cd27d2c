"""CMS detached signatures: the DER reader, the signer, its certificates and the chain."""

from __future__ import annotations

import contextlib
import io

from tests.verifier import cms_builder, pki
from verifier.artifacts import verify_artifact
from verifier.artifacts.cms import parse_detached
from verifier.chains import check_chain
from verifier.errors import VerificationError
from verifier.revocation import RevocationPolicy
from verifier.trust import Authority, Trust

NAME = "cms"
CONTENT = b"content"
TRUST = Trust(authorities=(Authority(pki.root().certificate),))


def seeds() -> list[bytes]:
    """Each kind of key, and each way to name the signer."""
    kinds = ("p256", "p384", "ed25519", "rsa2048")
    return [
        *(cms_builder.sign(CONTENT, pki.leaf(kind)) for kind in kinds if kind != "ed25519"),
        cms_builder.sign(CONTENT, pki.leaf("p256"), cms_builder.Options(by_key_identifier=True)),
        cms_builder.sign(CONTENT, pki.leaf("rsa2048"), cms_builder.Options(scheme="pss", signing_time=None)),
    ]


def one(data: bytes) -> None:
    """Parsed and verified; the chain is checked even where the signature no longer holds."""
    with contextlib.suppress(VerificationError):
        verify_artifact(io.BytesIO(CONTENT), data, TRUST, at=pki.NOW, signature_format="cms")
    try:
        signature = parse_detached(data)
        policy = RevocationPolicy(pki.NOW, pki.NOW)
        check_chain(signature.certificate, signature.candidates, TRUST.authorities, policy)
    except VerificationError:
        pass
