"""Discovery documents and signed SAML metadata: what they say, who makes the HSM sign, and what if it cannot."""

from __future__ import annotations

import base64
import threading
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from signxml.verifier import SignatureConfiguration, XMLVerifier
from sqlalchemy import select

from keystore.db import open_database
from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES
from keystore.errors import HsmUnavailable
from keystore.keystore import Keystore
from signer.app import application, assemble
from signer.config import ServerConfiguration
from tests.databases import url_of
from tests.keystore.support import TokenProxy
from tests.signer.service import MovedClock, ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from werkzeug.test import TestResponse

    from keystore.algorithms import SigningAlgorithm
    from keystore.api import BackingKey
    from keystore.hsm import Token

TOKENS: Final[dict[str, object]] = {"purpose": "jwt", "audiences": ["https://api.example"], "max_ttl": 600}
ASSERTIONS: Final[dict[str, object]] = {
    "purpose": "saml",
    "audiences": ["https://sp.example"],
    "recipients": ["https://sp.example/acs"],
}
ROOT_URL: Final = "https://idp.example/"
MD: Final = {"md": "urn:oasis:names:tc:SAML:2.0:metadata", "ds": "http://www.w3.org/2000/09/xmldsig#"}


class SometimesDead(TokenProxy):
    """A token that signs with customers' keys only while `alive`; seals, and heads of the log, all the time."""

    alive = True

    def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        if not self.alive and backing.version_id != "log":
            raise HsmUnavailable("the HSM does not answer")
        return self.real.sign(backing, algorithm, data)


@dataclass(frozen=True)
class Place:
    """A service whose default issuer is a host alone, its clock and its token, and a second worker beside it."""

    service: ServiceInProcess
    clock: MovedClock
    token: SometimesDead
    directory: Path

    def fetch(self, path: str, status: int = 200) -> TestResponse:
        answer = self.service.call(None, "GET", path)
        assert answer.status_code == status, answer.get_data(as_text=True)
        return answer

    def metadata(self, issuer: str) -> bytes:
        return self.fetch(f"/issuers/{issuer}/saml/metadata").get_data()

    def new_issuer(self, **members: object) -> str:
        name = f"i{uuid.uuid4().hex[:12]}"
        body = {"name": name, "url": f"https://{name}.example", **members}
        self.service.made("user/key-admin", "POST", "/v1/issuers", body)
        return name

    def make(self, members: dict[str, object], issuer: str, **more: object) -> Any:
        body = {"spec": "ECC_NIST_P256", "users": ["role/ci"], "issuer": issuer, **members, **more}
        return self.service.made("user/key-admin", "POST", "/v1/keys", body)

    def change(self, key: Any, call: str, body: object = None) -> Any:
        return self.service.made("user/key-admin", "POST", f"/v1/keys/{key['id']}/{call}", body)

    def leaf(self, key: Any, version: int = 1) -> x509.Certificate:
        pem = self.fetch(f"/v1/keys/{key['id']}/certificate?version={version}").get_data()
        return x509.load_pem_x509_certificates(pem)[0]

    def signings(self, key: Any) -> list[dict[str, Any]]:
        """The outcomes, with their intents, of every signature that this key made over metadata."""
        joined = select(AUDIT_INTENTS, LOG_ENTRIES.c.outcome, LOG_ENTRIES.c.signature_sha256).join(
            LOG_ENTRIES, LOG_ENTRIES.c.intent_id == AUDIT_INTENTS.c.id
        )
        wanted = joined.where(AUDIT_INTENTS.c.action == "SignMetadata", AUDIT_INTENTS.c.key_id == key["id"])
        with self.service.services.keystore.database.read() as connection:
            return [dict(row) for row in connection.execute(wanted.order_by(LOG_ENTRIES.c.seq)).mappings()]


@pytest.fixture(scope="module")
def place(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("documents")
    clock, proxy = MovedClock(datetime.now(UTC)), SometimesDead(token)
    with running_service(proxy, directory, clock=clock, issuer_url=ROOT_URL) as service:
        yield Place(service, clock, proxy, directory)


def verified_by(document: bytes, certificate: x509.Certificate) -> etree._Element:
    """The element that the signature covers, by the certificate given alone."""
    own_time = SignatureConfiguration(verification_time=certificate.not_valid_before_utc)  # the test's clock was moved
    verified = XMLVerifier().verify(
        etree.fromstring(document), x509_cert=certificate, id_attribute="ID", expect_config=own_time
    )
    assert not isinstance(verified, list)
    assert verified.signed_xml is not None
    return verified.signed_xml


def listed(document: bytes) -> list[bytes]:
    found = etree.fromstring(document).iterfind(".//md:KeyDescriptor[@use='signing']//ds:X509Certificate", MD)
    return [base64.b64decode(node.text or "") for node in found]


def valid_until(document: bytes) -> datetime:
    return datetime.fromisoformat(str(etree.fromstring(document).get("validUntil")))


# --- discovery ---


def test_discovery_says_what_is_required_and_true(place: Place) -> None:
    """OpenID Connect Discovery 1.0 section 3, without what Sealmark is not: an authorization server."""
    issuer = place.new_issuer()
    place.make(TOKENS, issuer)
    place.make(TOKENS, issuer, spec="ECC_NIST_EDWARDS25519")
    place.make(TOKENS, issuer)
    answer = place.fetch(f"/issuers/{issuer}/.well-known/openid-configuration")
    assert answer.mimetype == "application/json"
    assert answer.get_json() == {
        "issuer": f"https://{issuer}.example",
        "jwks_uri": f"https://{issuer}.example/jwks.json",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "EdDSA"],
    }


def test_discovery_names_the_places_that_the_issuer_names(place: Place) -> None:
    places = {
        "jwks_uri": "https://sign.example/issuers/shop/jwks.json",
        "authorization_endpoint": "https://login.example/authorize?tenant=a",
        "token_endpoint": "https://login.example/token",
    }
    issuer = place.new_issuer(**places)
    place.make(TOKENS, issuer)
    said = place.fetch(f"/issuers/{issuer}/.well-known/openid-configuration").get_json()
    assert {name: said[name] for name in places} == places
    assert said["response_types_supported"] == ["code"]


@pytest.mark.parametrize(
    "url", ["https://a.example", "https://a.example/", "https://a.example/b", "https://a.example/b/"]
)
def test_the_key_set_lies_below_the_issuers_url(place: Place, url: str) -> None:
    """So one rule of a proxy serves all: what lies below the url is fetched below /issuers/NAME."""
    issuer = place.new_issuer(url=url)
    place.make(TOKENS, issuer)
    said = place.fetch(f"/issuers/{issuer}/.well-known/openid-configuration").get_json()
    assert said["issuer"] == url  # to the letter
    assert said["jwks_uri"] == url.rstrip("/") + "/jwks.json"


def test_a_default_issuer_that_is_a_host_alone_is_discovered_at_its_root(place: Place) -> None:
    place.make(TOKENS, "default")
    said = place.fetch("/.well-known/openid-configuration").get_json()
    assert said == place.fetch("/issuers/default/.well-known/openid-configuration").get_json()
    assert (said["issuer"], said["jwks_uri"]) == (ROOT_URL, f"{ROOT_URL}.well-known/jwks.json")
    assert place.fetch("/.well-known/jwks.json").get_json()["keys"]


def test_an_issuer_without_tokens_has_nothing_to_discover(place: Place) -> None:
    issuer = place.new_issuer()
    place.make(ASSERTIONS, issuer)
    place.make(TOKENS, issuer, published=False)
    assert place.fetch(f"/issuers/{issuer}/.well-known/openid-configuration", 404).get_json()["code"] == "not_found"


def test_the_algorithms_are_those_of_the_keys_that_are_published(place: Place) -> None:
    issuer = place.new_issuer()
    place.make(TOKENS, issuer)
    place.make(TOKENS, issuer, spec="ECC_NIST_P384", published=False)
    said = place.fetch(f"/issuers/{issuer}/.well-known/openid-configuration").get_json()
    assert said["id_token_signing_alg_values_supported"] == ["ES256"]


# --- metadata ---


def test_metadata_are_signed_by_the_issuers_own_key(place: Place) -> None:
    issuer = place.new_issuer(sign_on_url="https://login.example/saml")
    key = place.make(ASSERTIONS, issuer)
    document = place.metadata(issuer)
    covered = verified_by(document, place.leaf(key))
    assert covered.get("entityID") == f"https://{issuer}.example"
    (sign_on,) = covered.iterfind(".//md:SingleSignOnService", MD)
    assert sign_on.get("Location") == "https://login.example/saml"
    assert timedelta(0) <= place.clock() + timedelta(days=7) - valid_until(document) < timedelta(seconds=2)
    (signing,) = place.signings(key)
    assert (signing["principal"], signing["outcome"], signing["version"]) == ("service/sealmark", "succeeded", 1)
    assert signing["context"] == f'{{"metadata_of":"https://{issuer}.example"}}'
    assert len(signing["signature_sha256"]) == 32


def test_strangers_do_not_make_the_hsm_sign(place: Place) -> None:
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    documents = {place.metadata(issuer) for _ in range(5)}
    together: list[bytes] = []
    threads = [threading.Thread(target=lambda: together.append(place.metadata(issuer))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(documents | set(together)) == 1
    assert len(together) == len(threads)
    assert len(place.signings(key)) == 1


def test_all_that_come_together_at_first_wait_for_one_signature(place: Place) -> None:
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(place.metadata(issuer))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(set(got))) == (8, 1)
    assert len(place.signings(key)) == 1


def other_worker(place: Place, stack: ExitStack) -> ServiceInProcess:
    """Another process's view: parts and caches of its own over the same database."""
    database = open_database(url_of(place.directory / "sealmark.db"))
    stack.callback(database.close)
    keystore = Keystore(place.service.services.keystore._token, database, clock=place.clock)
    services = assemble(keystore, place.directory, ServerConfiguration())
    stack.callback(services.audit.stop)
    stack.callback(services.upkeep.stop)
    return ServiceInProcess(services, application(services).test_client(), place.service.tokens)


def test_every_worker_and_every_start_shows_the_same_bytes(place: Place) -> None:
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    document = place.metadata(issuer)
    with ExitStack() as stack:
        other = other_worker(place, stack)
        assert other.call(None, "GET", f"/issuers/{issuer}/saml/metadata").get_data() == document
    assert len(place.signings(key)) == 1


def test_of_two_workers_that_sign_together_one_document_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other worker is made to sign between this one's look and its write."""
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    with ExitStack() as stack:
        other = other_worker(place, stack)
        keystore = place.service.services.keystore
        keep, theirs = keystore.keep_document, []

        def keep_late(*arguments: Any, **named: Any) -> None:
            theirs.append(other.call(None, "GET", f"/issuers/{issuer}/saml/metadata").get_data())
            keep(*arguments, **named)

        monkeypatch.setattr(keystore, "keep_document", keep_late)
        ours = place.metadata(issuer)
    assert [ours] == theirs
    assert len(place.signings(key)) == 2


def test_metadata_are_made_anew_when_half_of_their_validity_is_over(place: Place) -> None:
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    first = place.metadata(issuer)
    place.clock.move(timedelta(days=3.5) - timedelta(seconds=2))
    assert place.metadata(issuer) == first
    place.clock.move(timedelta(seconds=2))
    second = place.metadata(issuer)
    assert valid_until(second) - valid_until(first) >= timedelta(days=3.5) - timedelta(seconds=1)
    assert place.metadata(issuer) == second
    assert len(place.signings(key)) == 2


def test_what_changes_in_them_is_shown_at_once(place: Place) -> None:
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    first = place.metadata(issuer)
    place.change(key, "rotate")
    pending = place.metadata(issuer)
    assert listed(pending) == [*listed(first), place.leaf(key, 2).public_bytes(Encoding.DER)]
    verified_by(pending, place.leaf(key))  # version 2 does not sign yet
    place.clock.move(timedelta(seconds=900))
    verified_by(place.metadata(issuer), place.leaf(key, 2))
    place.clock.move(timedelta(seconds=4200))
    assert listed(place.metadata(issuer)) == [place.leaf(key, 2).public_bytes(Encoding.DER)]
    assert len(place.signings(key)) == 4


def test_a_disabled_key_signs_no_metadata_but_stays_in_them(place: Place) -> None:
    issuer = place.new_issuer()
    older = place.make(ASSERTIONS, issuer)
    place.clock.move(timedelta(seconds=1))
    newer = place.make(ASSERTIONS, issuer)
    verified_by(place.metadata(issuer), place.leaf(older))
    place.change(older, "disable")
    document = place.metadata(issuer)
    verified_by(document, place.leaf(newer))
    assert len(listed(document)) == 2
    place.change(newer, "disable")
    assert place.fetch(f"/issuers/{issuer}/saml/metadata", 404).get_json()["code"] == "not_found"


def test_an_unpublished_key_neither_signs_metadata_nor_stands_in_them(place: Place) -> None:
    issuer = place.new_issuer()
    hidden = place.make(ASSERTIONS, issuer, published=False)
    place.fetch(f"/issuers/{issuer}/saml/metadata", 404)
    shown = place.make(ASSERTIONS, issuer)
    assert listed(place.metadata(issuer)) == [place.leaf(shown).public_bytes(Encoding.DER)]
    assert place.signings(hidden) == []


def test_while_the_hsm_is_away_what_is_still_good_is_shown(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    first = place.metadata(issuer)
    monkeypatch.setattr(place.token, "alive", False)
    place.clock.move(timedelta(days=4))
    assert place.metadata(issuer) == first
    assert place.metadata(issuer) == first
    assert [signing["outcome"] for signing in place.signings(key)] == ["succeeded", "failed"]
    place.clock.move(timedelta(days=3))
    refused = place.fetch(f"/issuers/{issuer}/saml/metadata", 503)
    assert (refused.get_json()["code"], refused.headers["Cache-Control"]) == ("hsm_unavailable", "no-store")
    monkeypatch.setattr(place.token, "alive", True)
    place.clock.move(timedelta(seconds=10))
    assert valid_until(place.metadata(issuer)) > place.clock()


def test_strangers_who_ask_on_while_the_hsm_is_away_do_not_fill_the_trail(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    monkeypatch.setattr(place.token, "alive", False)
    for _ in range(5):
        answer = place.fetch(f"/issuers/{issuer}/saml/metadata", 503)
        assert "Retry-After" in answer.headers
    assert [signing["outcome"] for signing in place.signings(key)] == ["failed"]
    monkeypatch.setattr(place.token, "alive", True)
    place.fetch(f"/issuers/{issuer}/saml/metadata", 503)
    place.clock.move(timedelta(seconds=10))
    verified_by(place.metadata(issuer), place.leaf(key))
    assert [signing["outcome"] for signing in place.signings(key)] == ["failed", "succeeded"]


def test_nobody_waits_for_a_renewal_while_there_is_something_good_to_show(place: Place) -> None:
    issuer = place.new_issuer()
    place.make(ASSERTIONS, issuer)
    first = place.metadata(issuer)
    place.clock.move(timedelta(days=4))
    with place.service.services.saml_metadata._making:  # somebody is at it
        assert place.metadata(issuer) == first
    assert place.metadata(issuer) != first


def test_metadata_that_say_something_else_are_not_shown_while_the_hsm_is_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that was retired in an emergency must not be shown as the one that signs, HSM or not."""
    issuer = place.new_issuer()
    key = place.make(ASSERTIONS, issuer)
    place.metadata(issuer)
    place.change(key, "rotate", {"now": True})
    monkeypatch.setattr(place.token, "alive", False)
    place.fetch(f"/issuers/{issuer}/saml/metadata", 503)
