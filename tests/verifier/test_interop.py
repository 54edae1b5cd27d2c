"""What stock tools sign is accepted, and refused once it is tampered with: openssl for files, xmlsec1 for SAML."""

from __future__ import annotations

import io
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from tests.verifier import pki, saml_builder
from verifier import Rejected, VerifiedAssertion, parse_trust, verify_artifact, verify_saml

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"a release binary\x00\r\n" * 500


def run(*command: object) -> bytes:
    return subprocess.run([str(each) for each in command], check=True, capture_output=True, timeout=60).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert shutil.which("openssl")
    (tmp_path / "tool").write_bytes(CONTENT)
    return tmp_path


def write_identity(folder: Path, identity: pki.Identity) -> None:
    (folder / "key.pem").write_bytes(pki.private_pem(identity.private_key))
    (folder / "certificate.pem").write_bytes(pki.pem(identity.certificate))
    (folder / "root.pem").write_bytes(pki.pem(pki.root().certificate))


@pytest.mark.parametrize(
    ("kind", "options", "algorithm"),
    [
        ("rsa2048", (), "RSASSA_PKCS1_V1_5_SHA_256"),
        ("rsa2048", ("-md", "sha512"), "RSASSA_PKCS1_V1_5_SHA_512"),
        ("rsa2048", ("-keyid",), "RSASSA_PKCS1_V1_5_SHA_256"),
        ("rsa2048", ("-cades",), "RSASSA_PKCS1_V1_5_SHA_256"),
        ("rsa2048", ("-nosmimecap",), "RSASSA_PKCS1_V1_5_SHA_256"),
        (
            "rsa2048",
            ("-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:32", "-md", "sha256"),
            "RSASSA_PSS_SHA_256",
        ),
        ("p256", (), "ECDSA_SHA_256"),
        ("p256", ("-cades",), "ECDSA_SHA_256"),
        ("p256", ("-keyid",), "ECDSA_SHA_256"),
        ("p384", ("-md", "sha384"), "ECDSA_SHA_384"),
        ("p521", ("-md", "sha512"), "ECDSA_SHA_512"),
    ],
)
def test_openssl_cms(folder: Path, kind: str, options: tuple[str, ...], algorithm: str) -> None:
    signer = pki.leaf(kind)
    write_identity(folder, signer)
    # OpenSSL reads -keyopt as belonging to the -signer before it.
    run(
        *("openssl", "cms", "-sign", "-binary", "-outform", "DER", "-in", folder / "tool"),
        *("-signer", folder / "certificate.pem", "-inkey", folder / "key.pem", *options),
        *("-certfile", folder / "root.pem", "-out", folder / "tool.p7s"),
    )
    signature = (folder / "tool.p7s").read_bytes()
    trust = parse_trust((folder / "root.pem").read_bytes())
    facts = verify_artifact(folder / "tool", signature, trust)
    assert (facts.key.algorithm, facts.signature_format) == (algorithm, "cms")
    assert facts.claimed_signing_time is not None
    for tampered in (CONTENT[:-1] + b"x", CONTENT.replace(b"\r\n", b"\n")):
        with pytest.raises(Rejected, match="digest_mismatch"):
            verify_artifact(io.BytesIO(tampered), signature, trust)


def test_openssl_cms_without_attributes_or_with_content_is_refused(folder: Path) -> None:
    write_identity(folder, pki.leaf())
    trust = parse_trust(pki.pem(pki.root().certificate))
    for option in ("-noattr", "-nodetach"):
        signature = run(
            *("openssl", "cms", "-sign", "-binary", "-outform", "DER", "-in", folder / "tool", option),
            *("-signer", folder / "certificate.pem", "-inkey", folder / "key.pem"),
        )
        with pytest.raises(Rejected, match="malformed"):
            verify_artifact(folder / "tool", signature, trust)


@pytest.mark.parametrize(
    ("kind", "options", "algorithm"),
    [
        ("rsa2048", ("-sha256",), "RSASSA_PKCS1_V1_5_SHA_256"),
        (
            "rsa2048",
            ("-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"),
            "RSASSA_PSS_SHA_384",
        ),
        ("p256", ("-sha256",), "ECDSA_SHA_256"),
        ("p384", ("-sha384",), "ECDSA_SHA_384"),
        ("secp256k1", ("-sha256",), "ECDSA_SHA_256"),
    ],
)
def test_openssl_dgst(folder: Path, kind: str, options: tuple[str, ...], algorithm: str) -> None:
    (folder / "key.pem").write_bytes(pki.private_pem(pki.key(kind)))
    signature = run("openssl", "dgst", *options, "-sign", folder / "key.pem", folder / "tool")
    trust = parse_trust(pki.public_pem(pki.key(kind)))
    assert verify_artifact(folder / "tool", signature, trust).key.algorithm == algorithm
    with pytest.raises(Rejected, match="signature_invalid"):
        verify_artifact(io.BytesIO(CONTENT + b"x"), signature, trust)


def test_openssl_ed25519(folder: Path) -> None:
    (folder / "key.pem").write_bytes(pki.private_pem(pki.key("ed25519")))
    signature = run("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", folder / "key.pem", "-in", folder / "tool")
    trust = parse_trust(pki.public_pem(pki.key("ed25519")))
    assert verify_artifact(folder / "tool", signature, trust).key.algorithm == "ED25519_SHA_512"


def signature_template() -> etree._Element:
    """An empty signature for xmlsec1 to fill in."""
    dsig, more = saml_builder.DSIG, "http://www.w3.org/2001/04/xmldsig-more#"
    c14n = "http://www.w3.org/2001/10/xml-exc-c14n#"
    return etree.fromstring(
        f'<ds:Signature xmlns:ds="{dsig}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{c14n}"/>'
        f'<ds:SignatureMethod Algorithm="{more}rsa-sha256"/><ds:Reference URI="#_a1"><ds:Transforms>'
        f'<ds:Transform Algorithm="{dsig}enveloped-signature"/><ds:Transform Algorithm="{c14n}"/></ds:Transforms>'
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/></ds:Reference>'
        "</ds:SignedInfo><ds:SignatureValue/><ds:KeyInfo><ds:X509Data/></ds:KeyInfo></ds:Signature>"
    )


def test_xmlsec1_signs_an_assertion(folder: Path) -> None:
    assert shutil.which("xmlsec1")
    idp = saml_builder.identity()
    write_identity(folder, idp)
    message = etree.fromstring(saml_builder.build(sign="nothing"))
    assertion = message.find(f"{{{saml_builder.ASSERTION}}}Assertion")
    assert assertion is not None
    assertion.insert(1, signature_template())
    (folder / "template.xml").write_bytes(etree.tostring(message))
    run(
        *("xmlsec1", "--sign", "--id-attr:ID", f"{saml_builder.ASSERTION}:Assertion"),
        *("--privkey-pem", f"{folder}/key.pem,{folder}/certificate.pem"),
        *("--output", folder / "signed.xml", folder / "template.xml"),
    )
    signed = (folder / "signed.xml").read_bytes()

    def verify(data: bytes) -> VerifiedAssertion:
        return verify_saml(
            data,
            certificates=(idp.certificate,),
            audience=saml_builder.AUDIENCE,
            recipient=saml_builder.RECIPIENT,
            now=pki.NOW,
        )

    facts = verify(signed)
    assert (facts.subject, facts.signed) == ("u@example", ("assertion",))
    with pytest.raises(Rejected, match="signature_invalid"):
        verify(signed.replace(b"u@example", b"v@example"))
