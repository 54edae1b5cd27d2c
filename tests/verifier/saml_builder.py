"""SAML responses and assertions as the service makes them, signed with signxml, with room to go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

from tests.verifier import pki

ISSUER = "https://idp.example"
AUDIENCE = "https://sp.example"
RECIPIENT = "https://sp.example/acs"
REQUEST = "_request-1"
ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
C14N = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0


def when(seconds: int = 0) -> str:
    """xs:dateTime in UTC, seconds from now."""
    return (pki.NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Message:
    """The parts of a response, as text. Each can be replaced."""

    issuer: str = f"<saml:Issuer>{ISSUER}</saml:Issuer>"
    assertion_head: str = f'ID="_a1" Version="2.0" IssueInstant="{when()}"'
    response_head: str = (
        f'ID="_r1" Version="2.0" IssueInstant="{when()}" Destination="{RECIPIENT}" InResponseTo="{REQUEST}"'
    )
    status: str = '<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>'
    name_id: str = (
        '<saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">u@example</saml:NameID>'
    )
    method: str = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
    confirmation: str = f'Recipient="{RECIPIENT}" NotOnOrAfter="{when(3600)}" InResponseTo="{REQUEST}"'
    conditions_head: str = f'NotBefore="{when()}" NotOnOrAfter="{when(3600)}"'
    conditions: str = f"<saml:AudienceRestriction><saml:Audience>{AUDIENCE}</saml:Audience></saml:AudienceRestriction>"
    authentication: str = (
        f'<saml:AuthnStatement AuthnInstant="{when()}" SessionIndex="_s1"><saml:AuthnContext>'
        "<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef>"
        "</saml:AuthnContext></saml:AuthnStatement>"
    )
    attributes: str = (
        '<saml:AttributeStatement><saml:Attribute Name="role"><saml:AttributeValue>admin</saml:AttributeValue>'
        "<saml:AttributeValue>dev</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>"
    )
    response_issuer: str = f"<saml:Issuer>{ISSUER}</saml:Issuer>"

    def assertion(self) -> str:
        """The assertion."""
        return (
            f'<saml:Assertion xmlns:saml="{ASSERTION}" {self.assertion_head}>{self.issuer}<saml:Subject>{self.name_id}'
            f'<saml:SubjectConfirmation Method="{self.method}"><saml:SubjectConfirmationData {self.confirmation}/>'
            f"</saml:SubjectConfirmation></saml:Subject><saml:Conditions {self.conditions_head}>{self.conditions}"
            f"</saml:Conditions>{self.authentication}{self.attributes}</saml:Assertion>"
        )

    def response(self, assertion: str) -> str:
        """The response around an assertion."""
        return (
            f'<samlp:Response xmlns:samlp="{PROTOCOL}" xmlns:saml="{ASSERTION}" {self.response_head}>'
            f"{self.response_issuer}{self.status}{assertion}</samlp:Response>"
        )


@dataclass(frozen=True)
class Signing:
    """Who signs, and how."""

    identity: pki.Identity = field(default_factory=lambda: identity("rsa2048"))
    method: SignatureMethod = SignatureMethod.RSA_SHA256
    digest: str = "sha256"
    canonicalization: CanonicalizationMethod = C14N
    certificates: tuple[x509.Certificate, ...] | None = None


def identity(kind: str = "rsa2048", label: str = "idp") -> pki.Identity:
    """The identity provider."""
    profile = pki.Profile(purposes=None)
    return pki.issue(f"{label} {kind}", pki.key(kind, label), pki.root(), profile)


def sign_element(text: str, signing: Signing | None = None) -> str:
    """Signs the root of the text, the signature right after its issuer."""
    signing = signing or Signing()
    root = etree.fromstring(text)
    placeholder = etree.Element(f"{{{DSIG}}}Signature", {"Id": "placeholder"}, nsmap={"ds": DSIG})
    root.insert(1, placeholder)
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=signing.method,
        digest_algorithm=signing.digest,
        c14n_algorithm=signing.canonicalization,
    )
    certificates = signing.certificates or (signing.identity.certificate,)
    private_key = signing.identity.private_key
    assert not isinstance(private_key, ed25519.Ed25519PrivateKey)
    signed = signer.sign(
        root,
        key=private_key,
        cert=list(certificates),
        reference_uri=root.get("ID"),
        id_attribute="ID",
    )
    return etree.tostring(signed).decode()


def build(message: Message | None = None, sign: str = "assertion", signing: Signing | None = None) -> bytes:
    """A message with `assertion`, `response`, `both` or `nothing` signed; `bare` is a signed assertion alone."""
    message = message or Message()
    assertion = message.assertion()
    if sign in {"assertion", "both", "bare"}:
        assertion = sign_element(assertion, signing)
    if sign == "bare":
        return assertion.encode()
    response = message.response(assertion)
    if sign in {"response", "both"}:
        response = sign_element(response, signing)
    return response.encode()
