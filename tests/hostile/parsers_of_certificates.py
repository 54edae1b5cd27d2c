"""ASN.1 and what is laid out octet by octet: certificates, keys, key material, ciphertexts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from datetime import timedelta
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keystore import ciphertexts, import_tokens, importable
from keystore.algorithms import KEY_SPECS, Purpose
from keystore.errors import KeystoreError
from keystore.opened.agreement import peer_point
from signer.authn import certificate, forwarded
from signer.authn.refused import Refused
from signer.authn.request_keys import load_public_key
from signer.certificates.installation import checked_chain
from signer.certificates.request import parse_subject
from signer.errors import SealmarkError
from tests.hostile.parser import (
    KEY_ID,
    NOW,
    P256,
    PEER,
    PEER_PEM,
    Parser,
    text_of,
)
from tests.hostile.parsers_of_callers import NOBODY
from tests.verifier import pki


@cache
def _certificates() -> tuple[bytes, ...]:
    """A leaf and its root; the leaf as version 2, which nobody makes; with an extension twice."""
    leaf = pki.leaf().certificate.public_bytes(Encoding.DER)
    second = leaf.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    return leaf, pki.root().certificate.public_bytes(Encoding.DER), second


def client_certificate(data: bytes) -> None:
    """Of a caller, by TLS."""
    certificate.authenticate(data, NOBODY, NOW)


def certificate_header(data: bytes) -> None:
    """Of a caller, by a proxy's header."""
    found = forwarded.forwarded_certificate(text_of(data))
    if found is not None:
        certificate.authenticate(found, NOBODY, NOW)


def _certificate_headers() -> list[bytes]:
    leaf = _certificates()[0]
    pem = _pem(leaf).replace(b" ", b"%20").replace(b"\n", b"%0A").replace(b"+", b"%2B").replace(b"/", b"%2F")
    return [b":" + base64.b64encode(leaf) + b":", pem.replace(b"=", b"%3D"), b":AA==:;a=1"]


def chain(data: bytes) -> None:
    """A chain to be installed: DER, which is made PEM here so that the mutations reach what is in it; or PEM."""
    text = text_of(data) if data.startswith(b"-----") else (_pem(data) + _pem(_certificates()[1])).decode("ascii")
    checked_chain(text, None, public_key=_leaf_key(), purpose=Purpose.ARTIFACT, now=NOW)


@cache
def _leaf_key() -> bytes:
    key = pki.leaf().certificate.public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(der: bytes) -> bytes:
    lines = base64.encodebytes(der).replace(b"\n", b"")
    wrapped = b"\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + wrapped + b"\n-----END CERTIFICATE-----\n"


def _chains() -> list[bytes]:
    return [*_certificates(), b"".join(_pem(each) for each in _certificates()[:2])]


def public_keys(data: bytes) -> None:
    """The other side's key for an agreement, and a caller's key that signs requests."""
    with contextlib.suppress(ValueError):
        load_public_key(data)
    peer_point("ECC_NIST_P256", data)


def _private_keys() -> list[bytes]:
    keys = (P256, ed25519.Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
    made = [key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) for key in keys]
    return [*made, bytes(32), bytes(48)]


def material(data: bytes) -> None:
    """Material as it comes out of its wrapping, for a key of each kind."""
    for spec in ("ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "RSA_2048", "SYMMETRIC_DEFAULT"):
        with contextlib.suppress(KeystoreError):
            importable.parse_material(KEY_SPECS[spec], data).wipe()
    row = importable.check_wrapping("ECC_NIST_P256", "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048")
    importable.unwrapped(row, data[:32], data[32:])


def _seal(said: bytes) -> bytes:
    return hashlib.sha256(said).digest()


def import_token(data: bytes) -> None:
    """What stands behind a right tag was written here: it is the tag and its lengths that are tried."""
    with contextlib.suppress(KeystoreError):
        import_tokens.read_token(data, KEY_ID, NOW, _seal, "seal")


def _import_tokens() -> list[bytes]:
    row = importable.check_wrapping("SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256", "RSA_2048")
    made = import_tokens.ImportToken(KEY_ID, KEY_ID, row, NOW + timedelta(hours=1))
    return [made.encoded(_seal, "seal")]


def ciphertext(data: bytes) -> None:
    """A ciphertext's header, and an encryption context made of the octets."""
    ciphertexts.encode_context({text_of(data[:8]): text_of(data[8:])})
    ciphertexts.describe(data)


PARSERS: Final = (
    Parser("client-certificates", lambda: [*_certificates()], client_certificate, (Refused,)),
    Parser("certificate-headers", _certificate_headers, certificate_header, (Refused,)),
    Parser("chains", _chains, chain, (SealmarkError,)),
    Parser(
        "subjects",
        lambda: [b"CN=release,O=Example,C=DE", b"CN=a\\2Cb+OU=#0403", b"1.2.3=x"],
        lambda data: parse_subject(text_of(data)),
        (SealmarkError,),
    ),
    Parser("public-keys", lambda: [PEER, PEER_PEM], public_keys, (KeystoreError,)),
    Parser("material", _private_keys, material, (KeystoreError,)),
    Parser("import-tokens", _import_tokens, import_token, ()),
    Parser(
        "ciphertexts",
        lambda: [ciphertexts.header(KEY_ID, KEY_ID) + bytes(40), bytes([2, 1]) + bytes(70)],
        ciphertext,
        (KeystoreError,),
    ),
)
