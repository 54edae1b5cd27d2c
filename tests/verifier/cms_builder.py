"""CMS detached signatures built with asn1crypto, with a knob for each thing that a verifier must look at."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier.pki import NOW, Identity, PrivateKey

HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
Attributes = list[cms.CMSAttribute]


@dataclass
class Options:
    """How the signature is made. The hooks change parts before they are signed or before all is encoded."""

    hash_name: str = "sha256"
    outer_hash: str | None = None
    scheme: str = "default"  # default, rsa-encryption, pss
    pss_salt: int | None = None
    signing_time: dt.datetime | None = NOW
    certificates: tuple[x509.Certificate, ...] = ()
    by_key_identifier: bool = False
    change_attributes: Callable[[Attributes], Attributes] = field(default=lambda attributes: attributes)
    change_signer: Callable[[cms.SignerInfo], None] = field(default=lambda signer: None)
    change_data: Callable[[cms.SignedData], None] = field(default=lambda data: None)


def attribute(kind: str, *values: object) -> cms.CMSAttribute:
    """One attribute."""
    return cms.CMSAttribute({"type": kind, "values": list(values)})


def signing_certificate_v2(certificate: x509.Certificate, *, with_issuer: bool = True) -> cms.CMSAttribute:
    """RFC 5035 signing-certificate-v2 with SHA-256 left to its default."""
    encoded = certificate.public_bytes(Encoding.DER)
    parsed = asn1_x509.Certificate.load(encoded)
    identifier: dict[str, object] = {"cert_hash": hashlib.sha256(encoded).digest()}
    if with_issuer:
        directory_name = asn1_x509.GeneralName(name="directory_name", value=parsed.issuer)
        identifier["issuer_serial"] = {"issuer": [directory_name], "serial_number": parsed.serial_number}
    return attribute("signing_certificate_v2", tsp.SigningCertificateV2({"certs": [tsp.ESSCertIDv2(identifier)]}))


def _method(private_key: PrivateKey, options: Options) -> algos.SignedDigestAlgorithm:
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": f"{options.hash_name}_ecdsa"})
    if not isinstance(private_key, rsa.RSAPrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": "ed25519"})
    if options.scheme == "pss":
        salt = options.pss_salt or HASHES[options.hash_name].digest_size
        digest = {"algorithm": options.hash_name}
        return algos.SignedDigestAlgorithm(
            {
                "algorithm": "rsassa_pss",
                "parameters": algos.RSASSAPSSParams(
                    {
                        "hash_algorithm": digest,
                        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": digest},
                        "salt_length": salt,
                    }
                ),
            }
        )
    algorithm = "rsassa_pkcs1v15" if options.scheme == "rsa-encryption" else f"{options.hash_name}_rsa"
    return algos.SignedDigestAlgorithm({"algorithm": algorithm, "parameters": core.Null()})


def _sign(private_key: PrivateKey, message: bytes, options: Options) -> bytes:
    digest = HASHES[options.hash_name]
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return private_key.sign(message, ec.ECDSA(digest))
    if not isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(message)
    if options.scheme == "pss":
        salt = options.pss_salt or digest.digest_size
        return private_key.sign(message, padding.PSS(padding.MGF1(digest), salt), digest)
    return private_key.sign(message, padding.PKCS1v15(), digest)


def sign(content: bytes, signer: Identity, options: Options | None = None) -> bytes:
    """A DER ContentInfo with one detached signature over the content."""
    options = options or Options()
    certificates = options.certificates or (signer.certificate,)
    parsed = asn1_x509.Certificate.load(signer.certificate.public_bytes(Encoding.DER))
    attributes = [
        attribute("content_type", "data"),
        attribute("message_digest", hashlib.new(options.hash_name, content).digest()),
        signing_certificate_v2(signer.certificate),
    ]
    if options.signing_time is not None:
        attributes.append(attribute("signing_time", cms.Time({"utc_time": options.signing_time})))
    signed = cms.CMSAttributes(options.change_attributes(attributes))
    identifier: dict[str, object] = {
        "issuer_and_serial_number": cms.IssuerAndSerialNumber(
            {"issuer": parsed.issuer, "serial_number": parsed.serial_number}
        )
    }
    if options.by_key_identifier:
        identifier = {"subject_key_identifier": parsed.key_identifier}
    info = cms.SignerInfo(
        {
            "version": "v3" if options.by_key_identifier else "v1",
            "sid": cms.SignerIdentifier(identifier),
            "digest_algorithm": {"algorithm": options.hash_name},
            "signed_attrs": signed,
            "signature_algorithm": _method(signer.private_key, options),
            "signature": _sign(signer.private_key, signed.dump(), options),
        }
    )
    options.change_signer(info)
    data = cms.SignedData(
        {
            "version": "v3" if options.by_key_identifier else "v1",
            "digest_algorithms": [{"algorithm": options.outer_hash or options.hash_name}],
            "encap_content_info": {"content_type": "data"},
            "certificates": [asn1_x509.Certificate.load(each.public_bytes(Encoding.DER)) for each in certificates],
            "signer_infos": [info],
        }
    )
    options.change_data(data)
    encoded: bytes = cms.ContentInfo({"content_type": "signed_data", "content": data}).dump()
    return encoded
