"""PKCS #10 requests for outside CAs (RFC 2986), signed in the HSM by the key that is to be certified.

A request proves possession of the key and nothing else. Everything that is signed is built here, from a subject and
alternative names of bounded kinds and lengths: so a caller cannot have the key sign a token, an assertion, signed
attributes or a digest of its own choice in the guise of a request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keystore.errors import HsmFault
from signer.errors import Unprocessable
from signer.formats.hsmkey import own_hash, own_padding, private_key_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import SigningKey

_SUBJECT_MEMBERS: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.COUNTRY_NAME: "C",
}
_MOST_MEMBERS: Final = 16
_HOST: Final = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")


def parse_subject(text: str, field: str = "subject") -> x509.Name:
    """A name as RFC 4514 writes it, such as `CN=release,O=Example,C=DE`. Raises `Unprocessable`."""
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as exc:
        message = f"{field} is a name as RFC 4514 writes it, such as CN=release,O=Example,C=DE"
        raise Unprocessable(message, field=field) from exc
    attributes = list(name)
    if not attributes or len(attributes) > _MOST_MEMBERS or any(not attribute.value for attribute in attributes):
        message = f"{field} has 1 to {_MOST_MEMBERS} members, none of them empty"
        raise Unprocessable(message, field=field)
    for attribute in attributes:
        if attribute.oid not in _SUBJECT_MEMBERS:
            message = f"{field} is made of {', '.join(_SUBJECT_MEMBERS.values())}"
            raise Unprocessable(message, field=field)
        if not str(attribute.value).isprintable():
            message = f"{field} holds a character that is not printable"
            raise Unprocessable(message, field=field)
    return name


def alternative_names(dns_names: Sequence[str], uris: Sequence[str]) -> list[x509.GeneralName]:
    """The alternative names, checked. Raises `Unprocessable` naming the one at fault."""
    for position, host in enumerate(dns_names):
        if not _HOST.fullmatch(host) or len(host) > 253:
            message = "a DNS name is made of labels of a-z, 0-9 and -, joined by dots (a first label * stands for any)"
            raise Unprocessable(message, field=f"dns_names[{position}]")
    for position, uri in enumerate(uris):
        if not _URI.fullmatch(uri):
            message = "a URI has a scheme, a colon and visible ASCII characters"
            raise Unprocessable(message, field=f"uris[{position}]")
    return [*(x509.DNSName(host) for host in dns_names), *(x509.UniformResourceIdentifier(uri) for uri in uris)]


def build(key: SigningKey, subject: x509.Name, names: Sequence[x509.GeneralName]) -> bytes:
    """The request, DER, read back and checked. Raises: `HsmFault` if what came out does not verify."""
    algorithm = key.info.algorithm
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    built = builder.sign(private_key_for(key), own_hash(algorithm), rsa_padding=own_padding(algorithm))
    der = built.public_bytes(Encoding.DER)
    try:
        request = x509.load_der_x509_csr(der)
        verified = request.is_signature_valid and request.public_key() == key.public_key
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as exc:
        message = "the request that was made cannot be read; it is thrown away"
        raise HsmFault(message) from exc
    if not verified:
        message = "the request that was made does not verify; it is thrown away"
        raise HsmFault(message)
    return der
