"""An outside CA made by `cryptography` in software: a root, an intermediate and leaves, each of which can be spoilt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

ROOT_KEY: Final = ec.generate_private_key(ec.SECP256R1())
MIDDLE_KEY: Final = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY: Final = ec.generate_private_key(ec.SECP256R1())
CODE_SIGNING: Final = (ExtendedKeyUsageOID.CODE_SIGNING,)


@dataclass(frozen=True)
class Made:
    """What one certificate says."""

    name: str
    issuer: str
    ca: bool = True
    path_length: int | None = None
    usage: str | None = "key_cert_sign"  # None: no such extension
    extended: tuple[x509.ObjectIdentifier, ...] = ()
    begins: int = -1  # days from now
    ends: int = 30
    strange: bool = False  # a critical extension that nobody knows

    def certificate(
        self, public_key: CertificatePublicKeyTypes, signer: ec.EllipticCurvePrivateKey
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(self.name))
            .issuer_name(_name(self.issuer))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=self.begins))
            .not_valid_after(now + timedelta(days=self.ends))
            .add_extension(x509.BasicConstraints(self.ca, self.path_length), critical=True)
        )
        if self.usage is not None:
            builder = builder.add_extension(_usage(self.usage), critical=True)
        if self.extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.extended), critical=False)
        if self.strange:
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        return builder.sign(signer, hashes.SHA256())


ROOT: Final = Made("Outside root", "Outside root")
MIDDLE: Final = Made("Outside issuing", "Outside root", path_length=0)
LEAF: Final = Made("release", "Outside issuing", ca=False, usage="digital_signature", extended=CODE_SIGNING)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(name: str) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{each: each == name for each in names})


def certificates(
    public_key: bytes, *, leaf: Made = LEAF, middle: Made = MIDDLE, root: Made = ROOT
) -> list[x509.Certificate]:
    """Leaf, intermediate, root. `public_key` is DER SubjectPublicKeyInfo."""
    subject = load_der_public_key(public_key)
    assert isinstance(subject, ec.EllipticCurvePublicKey)
    return [
        leaf.certificate(subject, MIDDLE_KEY),
        middle.certificate(MIDDLE_KEY.public_key(), ROOT_KEY),
        root.certificate(ROOT_KEY.public_key(), ROOT_KEY),
    ]


def pem(chain: list[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)


def outside_chain(public_key: bytes, *, leaf: Made = LEAF, middle: Made = MIDDLE, root: Made = ROOT) -> str:
    return pem(certificates(public_key, leaf=leaf, middle=middle, root=root))
