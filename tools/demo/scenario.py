"""The demonstration's cast and acts: who asks, which keys are made, what is signed and published. By HTTP or CLI."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from tools.demo.exhibits import Exhibit, tamper_file, tamper_token, tamper_xml
from tools.demo.judges import Published
from tools.service import PROGRAMS, run

if TYPE_CHECKING:
    from tools.service import JsonObject, Service

AUDIENCE: Final = "https://api.example.com"
RECIPIENT: Final = "https://portal.example.com/saml/acs"
REQUEST_ID: Final = "_3f0c1b8e2a"
SUBJECT: Final = "alice@example.com"
ELF_BINARY: Final = Path("/bin/ls")
_DSIG: Final = "{http://www.w3.org/2000/09/xmldsig#}"


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key to make: alias, spec, purpose, algorithm, and what else its purpose wants."""

    alias: str
    spec: str
    purpose: str
    algorithm: str
    settings: dict[str, object]


_SUFFIXES: Final = {"cms": ".p7s", "raw": ".sig", "bundle": ".sigstore.json", "dsse": ".intoto.jsonl"}
_FILES: Final[dict[str, object]] = {"formats": list(_SUFFIXES)}
_TOKENS: Final[dict[str, object]] = {"audiences": [AUDIENCE], "max_ttl": 900}
_ASSERTIONS: Final[dict[str, object]] = {"audiences": [AUDIENCE], "recipients": [RECIPIENT]}
KEYS: Final = (
    WantedKey("release-rsa", "RSA_3072", "artifact", "RSASSA_PKCS1_V1_5_SHA_256", _FILES),
    WantedKey("release-p256", "ECC_NIST_P256", "artifact", "ECDSA_SHA_256", _FILES),
    WantedKey("release-p384", "ECC_NIST_P384", "artifact", "ECDSA_SHA_384", _FILES),
    WantedKey("login-rs256", "RSA_2048", "jwt", "RSASSA_PKCS1_V1_5_SHA_256", _TOKENS),
    WantedKey("login-ps256", "RSA_2048", "jwt", "RSASSA_PSS_SHA_256", _TOKENS),
    WantedKey("login-es256", "ECC_NIST_P256", "jwt", "ECDSA_SHA_256", _TOKENS),
    WantedKey("login-es384", "ECC_NIST_P384", "jwt", "ECDSA_SHA_384", _TOKENS),
    WantedKey("login-es512", "ECC_NIST_P521", "jwt", "ECDSA_SHA_512", _TOKENS),
    WantedKey("login-eddsa", "ECC_NIST_EDWARDS25519", "jwt", "ED25519_SHA_512", _TOKENS),
    WantedKey("sso", "RSA_2048", "saml", "RSASSA_PKCS1_V1_5_SHA_256", _ASSERTIONS),
)
JWS_NAMES: Final = {
    "RSASSA_PKCS1_V1_5_SHA_256": "RS256",
    "RSASSA_PSS_SHA_256": "PS256",
    "ECDSA_SHA_256": "ES256",
    "ECDSA_SHA_384": "ES384",
    "ECDSA_SHA_512": "ES512",
    "ED25519_SHA_512": "EdDSA",
}
SIGNED_PARTS: Final = {
    "assertion": ("assertion",),
    "response": ("response",),
    "both": ("assertion", "response"),
}


@dataclass(frozen=True, slots=True)
class Cast:
    """The bearer tokens of who signs: a CI job for releases, an identity provider for tokens and assertions."""

    release: str
    identity: str

    def tokens(self) -> tuple[str, str]:
        """Both tokens, which must stand in no log."""
        return self.release, self.identity


def enrol_cast(service: Service) -> Cast:
    """The administrator makes both; each enrols itself."""
    return Cast(
        release=service.enrolled("role/ci", "key-user"),
        identity=service.enrolled("role/idp", "key-user"),
    )


def make_keys(service: Service) -> list[JsonObject]:
    """Every key of `KEYS`, made in the HSM by the key administrator; their descriptions."""
    with service.caller(service.token_of("key-admin")) as administrator:
        return [administrator.json("POST", "/v1/keys", _new_key(wanted)) for wanted in KEYS]


def _new_key(wanted: WantedKey) -> JsonObject:
    return {
        "alias": wanted.alias,
        "spec": wanted.spec,
        "purpose": wanted.purpose,
        "algorithm": wanted.algorithm,
        "users": ["role/ci" if wanted.purpose == "artifact" else "role/idp"],
        **wanted.settings,
    }


def sign_files(service: Service, token: str, wheel: Path, folder: Path) -> list[Exhibit]:
    """The wheel and an ELF binary of this machine, by each artifact key, in each format: `sealmark sign`, as in CI."""
    exhibits = []
    titles = {wheel.name: "verifier's wheel", ELF_BINARY.name: str(ELF_BINARY)}
    environment = {"SEALMARK_URL": service.url, "SEALMARK_TOKEN": token}
    for key in (key for key in KEYS if key.purpose == "artifact"):
        place = folder / key.alias
        place.mkdir()
        files = [Path(shutil.copy(source, place / source.name)) for source in (wheel, ELF_BINARY)]
        formats = [word for kind in _SUFFIXES for word in ("--format", kind)]
        run(PROGRAMS / "sealmark", "sign", *files, "--key", key.alias, *formats, environment=environment)
        for file in files:
            twin = place / f"tampered-{file.name}"
            tamper_file(file, twin)
            for kind, suffix in _SUFFIXES.items():
                signature = file.with_name(file.name + suffix)
                algorithm = JWS_NAMES[key.algorithm]
                exhibits.append(Exhibit(titles[file.name], kind, key.alias, algorithm, file, twin, signature))
    return exhibits


def issue_tokens(service: Service, token: str, folder: Path) -> list[Exhibit]:
    """One JWT by each jwt key."""
    exhibits = []
    with service.caller(token) as identity:
        for key in (key for key in KEYS if key.purpose == "jwt"):
            claims = {"sub": SUBJECT, "scope": "read"}
            answer = identity.json("POST", f"/v1/keys/{key.alias}/jwts", {"claims": claims, "ttl": 300})
            genuine = answer["results"][0]["token"]
            subject, twin = folder / f"{key.alias}.jwt", folder / f"{key.alias}.tampered.jwt"
            subject.write_text(genuine, encoding="ascii")
            twin.write_text(tamper_token(genuine, SUBJECT.encode()), encoding="ascii")
            exhibits.append(Exhibit("access token", "jwt", key.alias, JWS_NAMES[key.algorithm], subject, twin))
    return exhibits


def issue_assertions(service: Service, token: str, folder: Path) -> list[Exhibit]:
    """One SAML response each with a signed assertion, a signed response, and both."""
    exhibits = []
    with service.caller(token) as identity:
        for sign, parts in SIGNED_PARTS.items():
            body = {
                "subject": SUBJECT,
                "audience": AUDIENCE,
                "recipient": RECIPIENT,
                "in_response_to": REQUEST_ID,
                "attributes": {"groups": ["release", "operators"]},
                "sign": sign,
            }
            answer = identity.json("POST", "/v1/keys/sso/assertions", body)
            genuine = base64.b64decode(answer["results"][0]["response"], validate=True)
            subject, twin = folder / f"sso-{sign}.xml", folder / f"sso-{sign}.tampered.xml"
            subject.write_bytes(genuine)
            twin.write_bytes(tamper_xml(genuine, SUBJECT.encode()))
            exhibits.append(Exhibit("SAML response", "saml", "sso", "RS256", subject, twin, signed=parts))
    return exhibits


def publish(service: Service, folder: Path) -> Published:
    """What anyone may fetch, without credentials, into files."""
    with service.caller() as anyone:
        for key in KEYS:
            address = f"/v1/keys/{key.alias}"
            (folder / f"{key.alias}.pub.pem").write_text(anyone.text(f"{address}/public-key?format=pem"))
            (folder / f"{key.alias}.chain.pem").write_text(anyone.text(f"{address}/certificate"))
        (folder / "ca.pem").write_text(anyone.text("/v1/ca"))
        (folder / "jwks.json").write_text(anyone.text("/.well-known/jwks.json"))
        (folder / "trust.json").write_text(anyone.text("/v1/trust"))
        metadata = anyone.text("/saml/metadata")
    (folder / "metadata.xml").write_text(metadata)
    (folder / "idp.crt").write_bytes(metadata_certificate(metadata))
    with service.caller(service.token_of("key-admin")) as administrator:
        issuers = administrator.json("GET", "/v1/issuers")["issuers"]
    (default,) = (issuer for issuer in issuers if issuer["name"] == "default")
    return Published(folder, default["url"], AUDIENCE, RECIPIENT, REQUEST_ID)


def metadata_certificate(metadata: str) -> bytes:
    """The one signing certificate that SAML metadata publish, as PEM."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    texts = {
        "".join(found.itertext())
        for found in etree.fromstring(metadata.encode(), parser).iter(f"{_DSIG}X509Certificate")
    }
    (text,) = texts
    return x509.load_der_x509_certificate(base64.b64decode(text)).public_bytes(Encoding.PEM)


def published_summary(published: Published) -> str:
    """How much was published, in words."""
    keys = len(json.loads((published.folder / "jwks.json").read_bytes())["keys"])
    trust = json.loads((published.folder / "trust.json").read_bytes())
    return (
        f"{len(KEYS)} public keys and certificate chains, {keys} JWKs, SAML metadata, "
        f"a trust bundle of {len(trust['keys'])} keys and {len(trust['authorities'])} authority"
    )
