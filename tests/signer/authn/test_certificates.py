"""From a client certificate to a principal, from values alone: exactly one binding matches, or nobody is there."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from keystore.api import CredentialMatch, PrincipalRecord, PublicCredentialRecord
from signer.access import Duty
from signer.authn.certificate import authenticate
from signer.authn.forwarded import forwarded_certificate
from signer.authn.principal import CredentialKind
from signer.authn.refused import Refused
from tests.signer.authn.certificates import CLIENT, FOR_CLIENTS, NOW, certificate, der, key_usage, pem

URI: Final = "spiffe://shop.example/ci"
DNS: Final = "ci.shop.example"
NAMES: Final = (x509.UniformResourceIdentifier(URI), x509.DNSName(DNS))
USUAL: Final = certificate(FOR_CLIENTS, key_usage(), names=NAMES)
SPKI: Final = CLIENT.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
BINDING: Final = PublicCredentialRecord(
    "id", "role/ci", CredentialMatch.URI, URI, None, None, "", "enabled", NOW, "user/admin", None
)
VALUES: Final = {
    CredentialMatch.PUBLIC_KEY: hashlib.sha256(SPKI).hexdigest(),
    CredentialMatch.CERTIFICATE: hashlib.sha256(der(USUAL)).hexdigest(),
    CredentialMatch.URI: URI,
    CredentialMatch.DNS: DNS,
}


class Known:
    """The rows that are found."""

    def __init__(self, *bindings: PublicCredentialRecord, state: str = "enabled") -> None:
        self._bindings, self._state = bindings, state

    def matching_public_credentials(self, match: CredentialMatch, value: str) -> tuple[PublicCredentialRecord, ...]:
        return tuple(one for one in self._bindings if (one.match, one.value) == (match, value))

    def find_principal(self, name: str) -> PrincipalRecord | None:
        return PrincipalRecord(name, "key-user", self._state, NOW, "user/admin") if self._state else None


@pytest.mark.parametrize("match", VALUES)
def test_a_certificate_is_the_principal_to_whom_it_is_bound(match: CredentialMatch) -> None:
    principal = authenticate(der(USUAL), Known(replace(BINDING, match=match, value=VALUES[match])), NOW)
    assert (principal.name, principal.duty, principal.kind) == ("role/ci", Duty.KEY_USER, CredentialKind.CERTIFICATE)
    assert principal.credential == "certificate:id"
    assert json.loads(principal.proof or "") == {
        "certificate_sha256": VALUES[CredentialMatch.CERTIFICATE],
        "credential": "id",
        "issuer": "CN=Client CA",
        "matched": f"{match}:{VALUES[match]}",
        "serial": "1234",
    }


@pytest.mark.parametrize("match", [CredentialMatch.PUBLIC_KEY, CredentialMatch.CERTIFICATE])
def test_a_renewed_certificate_of_the_same_key_is_recognised_by_the_key_alone(match: CredentialMatch) -> None:
    renewed = certificate(FOR_CLIENTS, key_usage(), names=NAMES, ends=NOW + timedelta(days=9))
    known = Known(replace(BINDING, match=match, value=VALUES[match]))
    if match is CredentialMatch.PUBLIC_KEY:
        assert authenticate(der(renewed), known, NOW).name == "role/ci"
    else:
        with pytest.raises(Refused, match="0 usable bindings"):
            authenticate(der(renewed), known, NOW)


OTHER: Final = replace(BINDING, id="other", match=CredentialMatch.DNS, value=DNS)


@pytest.mark.parametrize(
    "bindings",
    [
        (),
        (BINDING, OTHER),
        (BINDING, replace(OTHER, principal="role/other")),
        (BINDING, replace(BINDING, id="other", principal="role/other")),
        (replace(BINDING, state="revoked"),),
        (replace(BINDING, state="Enabled"),),
        (replace(BINDING, expires_at=NOW),),
        (replace(BINDING, value=URI.upper()),),
        (replace(BINDING, value=URI + "/"),),
        (replace(BINDING, match=CredentialMatch.DNS, value=URI),),
        (replace(BINDING, match=CredentialMatch.DNS, value="*.shop.example"),),
        (replace(BINDING, match=CredentialMatch.REQUEST_KEY, value=VALUES[CredentialMatch.PUBLIC_KEY]),),
    ],
)
def test_no_binding_or_two_are_refused(bindings: tuple[PublicCredentialRecord, ...]) -> None:
    with pytest.raises(Refused, match="usable bindings match"):
        authenticate(der(USUAL), Known(*bindings), NOW)


def test_one_that_is_over_does_not_stand_in_the_way_of_another() -> None:
    known = Known(BINDING, replace(OTHER, state="revoked"), replace(OTHER, id="third", expires_at=NOW))
    assert authenticate(der(USUAL), known, NOW).credential == "certificate:id"


@pytest.mark.parametrize("state", ["disabled", "deleted", ""])
def test_a_principal_that_is_not_enabled_is_refused(state: str) -> None:
    with pytest.raises(Refused, match="is not enabled"):
        authenticate(der(USUAL), Known(BINDING, state=state), NOW)


BAD: Final = {
    "expired": certificate(FOR_CLIENTS, names=NAMES, ends=NOW - timedelta(seconds=1)),
    "to come": certificate(FOR_CLIENTS, names=NAMES, begins=NOW + timedelta(seconds=1)),
    "for servers": certificate(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), names=NAMES),
    "for anything": certificate(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), names=NAMES),
    "an authority's": certificate(x509.BasicConstraints(ca=True, path_length=None), names=NAMES),
    "certifying": certificate(FOR_CLIENTS, key_usage(certifies=True), names=NAMES),
    "not for signing": certificate(FOR_CLIENTS, key_usage(signs=False), names=NAMES),
    "of too many names": certificate(FOR_CLIENTS, names=[*NAMES, *(x509.DNSName(f"a{i}.example") for i in range(40))]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_certificate_that_is_no_clients_is_refused(what: str) -> None:
    with pytest.raises(Refused):
        authenticate(der(BAD[what]), Known(BINDING), NOW)


@pytest.mark.parametrize("extensions", [(), (x509.BasicConstraints(ca=False, path_length=None),), (FOR_CLIENTS,)])
def test_a_certificate_may_say_little_of_its_use(extensions: tuple[x509.ExtensionType, ...]) -> None:
    assert authenticate(der(certificate(*extensions, names=NAMES)), Known(BINDING), NOW).name == "role/ci"


def test_other_kinds_of_names_are_not_looked_at() -> None:
    names = [x509.RFC822Name("ci@shop.example"), x509.IPAddress(ip_address("192.0.2.1"))]
    with pytest.raises(Refused, match="0 usable bindings"):
        authenticate(der(certificate(FOR_CLIENTS, names=names)), Known(BINDING), NOW)


OF_NO_VERSION = der(USUAL).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)


@pytest.mark.parametrize(
    "octets", [b"", b"\0", b"0\x03\x02\x01\x01", der(USUAL)[:-1], der(USUAL) + b"\0", OF_NO_VERSION]
)
def test_what_is_no_certificate_is_refused(octets: bytes) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        authenticate(octets, Known(BINDING), NOW)


STRUCTURED: Final = f":{base64.b64encode(der(USUAL)).decode()}:"  # RFC 9440 section 2.1
ESCAPED: Final = quote(pem(USUAL), safe="")  # nginx, $ssl_client_escaped_cert


@pytest.mark.parametrize("value", [STRUCTURED, ESCAPED, ESCAPED.removesuffix("%0A")])
def test_both_forms_of_a_proxys_header_are_read(value: str) -> None:
    assert forwarded_certificate(value) == der(USUAL)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":",
        "::::",
        STRUCTURED[:-1],
        STRUCTURED[1:],
        STRUCTURED + ";a=1",
        f"{STRUCTURED}, {STRUCTURED}",
        f"{STRUCTURED},{STRUCTURED}",
        base64.b64encode(der(USUAL)).decode(),
        f'"{base64.b64encode(der(USUAL)).decode()}"',
        pem(USUAL),
        pem(USUAL).replace("\n", " "),
        ESCAPED + ESCAPED,
        f"{ESCAPED},{ESCAPED}",
        quote(pem(USUAL).replace("CERTIFICATE", "TRUSTED CERTIFICATE"), safe=""),
        ESCAPED.replace("%0A", "", 3),
        ESCAPED.replace("%0A", "%0D%0A"),
        ESCAPED[:-40] + "%ff" + ESCAPED[-40:],
        STRUCTURED.replace(":", "\u00e9", 1),
    ],
)
def test_another_form_is_none(value: str) -> None:
    assert forwarded_certificate(value) is None


def test_the_key_that_is_recognised_is_the_certificates() -> None:
    stranger = certificate(FOR_CLIENTS, names=NAMES, key=ec.generate_private_key(ec.SECP256R1()))
    known = Known(replace(BINDING, match=CredentialMatch.PUBLIC_KEY, value=VALUES[CredentialMatch.PUBLIC_KEY]))
    with pytest.raises(Refused):
        authenticate(der(stranger), known, NOW)
