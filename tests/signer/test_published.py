"""What strangers fetch: key sets, metadata, certificates, the authority, the trust bundle; and what they never see."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet
from jwt import PyJWK
from lxml import etree

from keystore.keys import existing
from keystore.values import stored_time
from verifier.trust import parse_trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess

AUDIENCE: Final = "https://api.example"
TOKENS: Final[dict[str, object]] = {"purpose": "jwt", "audiences": [AUDIENCE], "max_ttl": 600}
ASSERTIONS: Final[dict[str, object]] = {
    "purpose": "saml",
    "audiences": ["https://sp.example"],
    "recipients": ["https://sp.example/acs"],
}
ARTIFACTS: Final[dict[str, object]] = {"purpose": "artifact"}
GENERAL: Final[dict[str, object]] = {"purpose": "general"}
JWT_ALGORITHMS: Final = {
    "ECC_NIST_P256": ("ECDSA_SHA_256", "ES256"),
    "ECC_NIST_P384": ("ECDSA_SHA_384", "ES384"),
    "ECC_NIST_P521": ("ECDSA_SHA_512", "ES512"),
    "ECC_NIST_EDWARDS25519": ("ED25519_SHA_512", "EdDSA"),
    "RSA_2048": ("RSASSA_PSS_SHA_256", "PS256"),
}
NAMESPACES: Final = {
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
PRIVATE_MEMBERS: Final = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def make(service: ServiceInProcess, members: Mapping[str, object], **more: object) -> Any:
    body = {"spec": "ECC_NIST_P256", "users": ["role/ci"], **members, **more}
    return service.made("user/key-admin", "POST", "/v1/keys", body)


def new_issuer(service: ServiceInProcess) -> str:
    name = f"i{uuid.uuid4().hex[:12]}"
    body = {"name": name, "url": f"https://{name}.example", "entity_id": f"urn:example:{name}"}
    service.made("user/key-admin", "POST", "/v1/issuers", body)
    return name


def fetch(service: ServiceInProcess, path: str) -> TestResponse:
    answer = service.call(None, "GET", path)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer


def key_set(service: ServiceInProcess, issuer: str) -> list[dict[str, Any]]:
    members: dict[str, list[dict[str, Any]]] = json.loads(fetch(service, f"/issuers/{issuer}/jwks.json").get_data())
    assert set(members) == {"keys"}
    return members["keys"]


def metadata_certificates(service: ServiceInProcess, issuer: str) -> list[bytes]:
    root = etree.fromstring(fetch(service, f"/issuers/{issuer}/saml/metadata").get_data())
    assert root.get("entityID") == f"urn:example:{issuer}"
    listed = root.iterfind(".//md:KeyDescriptor[@use='signing']//ds:X509Certificate", NAMESPACES)
    return [base64.b64decode(node.text or "") for node in listed]


def trusted(service: ServiceInProcess, key_id: str) -> list[int | None]:
    """The versions of a key in the trust bundle, as the verifier's own strict parser reads it."""
    return [key.key_version for key in parse_trust(fetch(service, "/v1/trust").get_data()).keys if key.key_id == key_id]


def certificates(service: ServiceInProcess, path: str) -> list[x509.Certificate]:
    answer = fetch(service, path)
    assert answer.mimetype == "application/x-pem-file"
    return x509.load_pem_x509_certificates(answer.get_data())


def spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def retire(service: ServiceInProcess, key_id: str, ago: timedelta) -> None:
    """Rotates at once, and moves the second version's beginning into the past, properly sealed."""
    service.made("user/key-admin", "POST", f"/v1/keys/{key_id}/rotate", {"now": True})
    keystore = service.services.keystore
    version = keystore.get_key(key_id).versions[1]
    with keystore.store.transaction() as transaction:
        row = existing(transaction, "key_versions", version.id)
        transaction.update(row, {"activate_at": stored_time(datetime.now(UTC) - ago)})


def test_a_key_set_holds_what_each_client_needs_and_nothing_private(service: ServiceInProcess) -> None:
    issuer = new_issuer(service)
    made = [
        make(service, TOKENS, spec=spec, issuer=issuer, algorithm=algorithm)
        for spec, (algorithm, _) in JWT_ALGORITHMS.items()
    ]
    keys = key_set(service, issuer)
    assert sorted(key["alg"] for key in keys) == sorted(alg for _, alg in JWT_ALGORITHMS.values())
    assert len({key["kid"] for key in keys}) == len(keys)
    assert {key["kid"] for key in keys} == {version["kid"] for key in made for version in key["versions"]}
    for key in keys:
        assert not PRIVATE_MEMBERS & set(key)
        assert key["use"] == "sig"
        assert "key_ops" not in key
        required = {name: key[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in key}
        canonical = json.dumps(required, separators=(",", ":"), sort_keys=True).encode()
        thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
        assert key["kid"] == thumbprint  # RFC 7638
        leaf = base64.b64decode(key["x5c"][0], validate=True)
        assert key["x5t#S256"] == base64.urlsafe_b64encode(hashlib.sha256(leaf).digest()).rstrip(b"=").decode()
        published = PyJWK(key).key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert spki(x509.load_der_x509_certificate(leaf)) == published
    assert {key["kty"] for key in keys if key["alg"] == "EdDSA"} == {"OKP"}


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # of joserfc; most clients know no other name
@pytest.mark.parametrize("spec", JWT_ALGORITHMS)
def test_a_stranger_verifies_a_token_with_the_published_set_alone(service: ServiceInProcess, spec: str) -> None:
    issuer, other = new_issuer(service), new_issuer(service)
    algorithm, alg = JWT_ALGORITHMS[spec]
    key = make(service, TOKENS, spec=spec, issuer=issuer, algorithm=algorithm)
    make(service, TOKENS, issuer=other)
    (result,) = service.made("role/ci", "POST", f"/v1/keys/{key['id']}/jwts", {"claims": {"sub": "s"}})["results"]
    read = jwt.decode(result["token"], KeySet.import_key_set({"keys": key_set(service, issuer)}), algorithms=[alg])
    assert (read.claims["iss"], read.claims["aud"], read.claims["sub"]) == (f"https://{issuer}.example", AUDIENCE, "s")
    with pytest.raises(InvalidKeyIdError):
        jwt.decode(result["token"], KeySet.import_key_set({"keys": key_set(service, other)}), algorithms=[alg])


def test_each_issuer_has_a_set_and_metadata_of_its_own(service: ServiceInProcess) -> None:
    one, other = new_issuer(service), new_issuer(service)
    tokens = {issuer: make(service, TOKENS, issuer=issuer) for issuer in (one, other)}
    assertions = {issuer: make(service, ASSERTIONS, issuer=issuer) for issuer in (one, other)}
    make(service, ARTIFACTS)
    for issuer in (one, other):
        assert [key["kid"] for key in key_set(service, issuer)] == [tokens[issuer]["versions"][0]["kid"]]
        leaf = certificates(service, f"/v1/keys/{assertions[issuer]['id']}/certificate")[0]
        assert metadata_certificates(service, issuer) == [leaf.public_bytes(Encoding.DER)]


def test_the_well_known_addresses_are_the_default_issuers(service: ServiceInProcess) -> None:
    make(service, TOKENS)
    make(service, ASSERTIONS)
    make(service, TOKENS, issuer=new_issuer(service))
    for short, long in (
        ("/.well-known/jwks.json", "/issuers/default/jwks.json"),
        ("/saml/metadata", "/issuers/default/saml/metadata"),
    ):
        assert fetch(service, short).get_data() == fetch(service, long).get_data()


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/.well-known/jwks.json", "application/jwk-set+json"),
        ("/issuers/default/jwks.json", "application/jwk-set+json"),
        ("/issuers/default/.well-known/openid-configuration", "application/json"),
        ("/issuers/default/saml/metadata", "application/samlmetadata+xml"),
        ("/saml/metadata", "application/samlmetadata+xml"),
        ("/v1/ca", "application/x-pem-file"),
    ],
)
def test_published_documents_are_cached_five_minutes_and_never_redirect(
    service: ServiceInProcess, path: str, media_type: str
) -> None:
    make(service, TOKENS)
    make(service, ASSERTIONS)
    first = fetch(service, path)
    assert first.mimetype == media_type
    assert first.headers["Access-Control-Allow-Origin"] == "*"  # browsers' relying parties read them too
    assert first.headers["Cache-Control"] == "public, max-age=300"
    assert "Location" not in first.headers
    tag = first.headers["ETag"]
    again = service.call(None, "GET", path, headers={"If-None-Match": tag})
    assert (again.status_code, again.get_data(), again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cache-Control"] == "public, max-age=300"
    assert again.headers["Access-Control-Allow-Origin"] == "*"
    assert service.call(None, "GET", path, headers={"If-None-Match": '"other"'}).get_data() == first.get_data()
    head = service.client.head(path)
    assert (head.status_code, head.get_data(), head.headers["ETag"]) == (200, b"", tag)
    assert int(head.headers["Content-Length"]) == len(first.get_data())
    for spelled in (f"{path}/", "/" + path[1:].replace("/", "//"), path.upper()):
        answer = service.call(None, "GET", spelled)
        assert (answer.status_code, "Location" in answer.headers) == (404, False), spelled
    for method in ("POST", "OPTIONS"):
        assert service.call(None, method, path).status_code == 405


def test_a_new_key_changes_the_tag(service: ServiceInProcess) -> None:
    issuer = new_issuer(service)
    path = f"/issuers/{issuer}/jwks.json"
    before = fetch(service, path).headers["ETag"]
    make(service, TOKENS, issuer=issuer)
    answer = service.call(None, "GET", path, headers={"If-None-Match": before})
    assert answer.status_code == 200
    assert answer.headers["ETag"] != before


@pytest.mark.parametrize(
    "path",
    [
        "/issuers/nobody/jwks.json",
        "/issuers/nobody/saml/metadata",
        "/issuers/nobody/.well-known/openid-configuration",
        "/issuers/Default/jwks.json",
    ],
)
def test_an_issuer_that_is_not_there_is_404_and_not_cached(service: ServiceInProcess, path: str) -> None:
    answer = service.call(None, "GET", path)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_pending_version_is_published_everywhere_before_it_signs(service: ServiceInProcess) -> None:
    issuer = new_issuer(service)
    token_key, assertion_key = make(service, TOKENS, issuer=issuer), make(service, ASSERTIONS, issuer=issuer)
    for key in (token_key, assertion_key):
        service.made("user/key-admin", "POST", f"/v1/keys/{key['id']}/rotate")
    described = service.made("user/key-admin", "GET", f"/v1/keys/{token_key['id']}")
    assert [version["state"] for version in described["versions"]] == ["active", "pending"]
    assert {key["kid"] for key in key_set(service, issuer)} == {version["kid"] for version in described["versions"]}
    chains = [certificates(service, f"/v1/keys/{assertion_key['id']}/certificate?version={n}") for n in (1, 2)]
    assert metadata_certificates(service, issuer) == [chain[0].public_bytes(Encoding.DER) for chain in chains]
    for key in (token_key, assertion_key):
        assert trusted(service, key["id"]) == [1, 2]


def test_a_retired_version_stays_published_while_what_it_signed_may_still_count(service: ServiceInProcess) -> None:
    issuer = new_issuer(service)
    keys = [make(service, TOKENS, issuer=issuer), make(service, ASSERTIONS, issuer=issuer)]
    for key in keys:
        service.made("user/key-admin", "POST", f"/v1/keys/{key['id']}/rotate", {"now": True})
    assert len(key_set(service, issuer)) == 2
    assert len(metadata_certificates(service, issuer)) == 2
    assert [trusted(service, key["id"]) for key in keys] == [[1, 2], [1, 2]]


@pytest.mark.parametrize(("past", "published"), [(timedelta(seconds=4190), 2), (timedelta(seconds=4210), 1)])
def test_metadata_drop_a_version_after_the_longest_assertion_and_ten_minutes(
    service: ServiceInProcess, past: timedelta, published: int
) -> None:
    issuer = new_issuer(service)
    key = make(service, ASSERTIONS, issuer=issuer)  # an hour is the longest assertion
    retire(service, key["id"], past)
    assert len(metadata_certificates(service, issuer)) == published


@pytest.mark.parametrize(("past", "published"), [(timedelta(seconds=1190), 2), (timedelta(seconds=1210), 1)])
def test_a_key_set_drops_a_version_after_the_longest_token_and_ten_minutes(
    service: ServiceInProcess, past: timedelta, published: int
) -> None:
    issuer = new_issuer(service)
    key = make(service, TOKENS, issuer=issuer)  # 600 s is its longest token
    retire(service, key["id"], past)
    assert len(key_set(service, issuer)) == published
    assert trusted(service, key["id"]) == [1, 2]  # what was signed long ago can still be judged


def test_old_versions_of_artifact_keys_stay_in_the_trust_bundle(service: ServiceInProcess) -> None:
    key = make(service, ARTIFACTS)
    retire(service, key["id"], timedelta(days=3000))
    assert trusted(service, key["id"]) == [1, 2]


def test_disabled_keys_stay_verifiable(service: ServiceInProcess) -> None:
    issuer = new_issuer(service)
    key = make(service, TOKENS, issuer=issuer)
    service.made("user/key-admin", "POST", f"/v1/keys/{key['id']}/schedule-deletion")
    assert [one["kid"] for one in key_set(service, issuer)] == [key["versions"][0]["kid"]]
    assert trusted(service, key["id"]) == [1]
    fetch(service, f"/v1/keys/{key['id']}/public-key")


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "ECC_SECG_P256K1", "RSA_2048"])
def test_the_three_forms_of_a_public_key_are_one_key(service: ServiceInProcess, spec: str) -> None:
    key = make(service, GENERAL, spec=spec, published=True)
    path = f"/v1/keys/{key['id']}/public-key"
    default, pem, der = fetch(service, path), fetch(service, f"{path}?format=pem"), fetch(service, f"{path}?format=der")
    member = fetch(service, f"{path}?format=jwk")
    assert default.get_data() == pem.get_data()
    assert (pem.mimetype, der.mimetype, member.mimetype) == (
        "application/x-pem-file",
        "application/octet-stream",
        "application/jwk+json",
    )
    loaded = load_pem_public_key(pem.get_data())
    assert loaded == load_der_public_key(der.get_data())
    described = json.loads(member.get_data())
    assert described["kid"] == key["versions"][0]["kid"]
    assert not PRIVATE_MEMBERS & set(described)
    leaf = certificates(service, f"/v1/keys/{key['id']}/certificate")[0]
    assert spki(leaf) == der.get_data()
    assert base64.b64decode(described["x5c"][0]) == leaf.public_bytes(Encoding.DER)


@pytest.mark.parametrize("query", ["format=xml", "format=PEM", "format=", "format=pem&format=der", "x=1"])
def test_another_form_of_a_public_key_is_refused(service: ServiceInProcess, query: str) -> None:
    key = make(service, ARTIFACTS)
    answer = service.call(None, "GET", f"/v1/keys/{key['id']}/public-key?{query}")
    assert (answer.status_code, answer.get_json()["field"]) == (422, query.partition("=")[0])


def test_every_certificate_is_issued_by_the_published_authority(service: ServiceInProcess) -> None:
    (authority,) = certificates(service, "/v1/ca")
    authority.verify_directly_issued_by(authority)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.critical) == (True, True)
    for members in (TOKENS, ASSERTIONS, ARTIFACTS, {**GENERAL, "published": True}):
        key = make(service, members, alias=f"a{uuid.uuid4().hex[:8]}")
        service.made("user/key-admin", "POST", f"/v1/keys/{key['id']}/rotate", {"now": True})
        for number in (1, 2):
            leaf, root = certificates(service, f"/v1/keys/{key['alias']}/certificate?version={number}")
            assert root == authority
            leaf.verify_directly_issued_by(authority)
            public = fetch(service, f"/v1/keys/{key['id']}/public-key?format=der&version={number}")
            assert spki(leaf) == public.get_data()


def test_the_verifiers_strict_parser_takes_the_trust_bundle(service: ServiceInProcess) -> None:
    issuer = new_issuer(service)
    made = [
        *(make(service, TOKENS, spec=spec, issuer=issuer) for spec in JWT_ALGORITHMS),
        make(service, ASSERTIONS, issuer=issuer),
        make(service, ARTIFACTS, spec="ECC_NIST_P384", alias=f"a{uuid.uuid4().hex[:8]}"),
        make(service, GENERAL, spec="RSA_2048", published=True),
        make(service, GENERAL, spec="ECC_NIST_EDWARDS25519", published=True),
        make(service, GENERAL, spec="ECC_SECG_P256K1", published=True),
    ]
    answer = fetch(service, "/v1/trust")
    assert answer.mimetype == "application/json"
    trust = parse_trust(answer.get_data())
    listed = {(key.key_id, key.key_version): key for key in trust.keys}
    for key in made[:-1]:
        entry = listed[key["id"], 1]
        assert (entry.purpose, entry.name) == (key["purpose"], key["alias"])
        assert [algorithm.name for algorithm in entry.algorithms] == key["algorithms"]
    assert listed[made[0]["id"], 1].issuer == f"https://{issuer}.example"
    assert listed[made[5]["id"], 1].issuer == f"urn:example:{issuer}"
    assert listed[made[6]["id"], 1].issuer is None
    assert [authority.certificate for authority in trust.authorities] == certificates(service, "/v1/ca")


@pytest.mark.parametrize("members", [TOKENS, ASSERTIONS, ARTIFACTS, GENERAL])
def test_an_unpublished_key_is_for_those_whom_its_policy_names(
    service: ServiceInProcess, members: dict[str, object]
) -> None:
    key = make(service, members, published=False)
    path = f"/v1/keys/{key['id']}/public-key"
    absent = service.call(None, "GET", f"/v1/keys/{uuid.uuid4()}/public-key").get_json()
    hidden = service.call(None, "GET", path).get_json()
    assert {**hidden, "request_id": ""} == {**absent, "request_id": ""}
    assert hidden["status"] == 404
    for who in ("role/other", "user/other-key-admin"):
        assert service.call(who, "GET", path).status_code == 404
    for who in ("role/ci", "user/key-admin"):
        for form in ("pem", "der", "jwk"):
            answer = service.call(who, "GET", f"{path}?format={form}")
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "no-store"  # or a proxy's cache would show it to strangers
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert service.made(who, "GET", f"{path}?format=jwk")["kid"] == key["versions"][0]["kid"]
    for anybody in (None, "role/ci", "user/key-admin"):
        assert service.call(anybody, "GET", f"/v1/keys/{key['id']}/certificate").status_code == 404
    assert trusted(service, key["id"]) == []
    make(service, ASSERTIONS)
    everything = "".join(
        fetch(service, address).get_data(as_text=True)
        for address in ("/.well-known/jwks.json", "/saml/metadata", "/v1/trust")
    )
    assert key["id"] not in everything
    assert key["versions"][0]["kid"] not in everything


def test_unpublished_keys_sign_all_the_same(service: ServiceInProcess) -> None:
    """Formats that carry a certificate need one, whether the service shows it to strangers or not."""
    digest = hashlib.sha256(b"file").hexdigest()
    artifact = {"artifacts": [{"name": "f", "size": 4, "digests": {"sha256": digest}}], "formats": ["cms"]}
    assertion = {"subject": "s", "audience": "https://sp.example", "recipient": "https://sp.example/acs"}
    for members, call, body in (
        (ARTIFACTS, "artifacts", artifact),
        (ASSERTIONS, "assertions", assertion),
        (TOKENS, "jwts", {"claims": {}}),
        (GENERAL, "signatures", {"message": "AAAA"}),
    ):
        key = make(service, members, published=False)
        for _ in range(2):
            service.made("role/ci", "POST", f"/v1/keys/{key['id']}/{call}", body)
            service.made("user/key-admin", "POST", f"/v1/keys/{key['id']}/rotate", {"now": True})


def test_general_keys_are_unpublished_unless_said(service: ServiceInProcess) -> None:
    assert [make(service, members)["published"] for members in (GENERAL, ARTIFACTS, TOKENS, ASSERTIONS)] == [
        *(False, True, True, True)
    ]
