"""Keys are rotated under the eyes of relying parties that cache, and none of them refuses anything.

The real application over HTTP, with a clock that the test moves; npm's jose and PyJWT's PyJWKClient as shipped, in
their own processes with the same clock, each of them once straight and once behind a shared cache that keeps what the
service lets it keep; and parties that fetch every ten minutes and never in between. That this test can fail is shown by
the next one: without publishing ahead, the same parties refuse good tokens.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import jwt
import pytest
from cryptography import x509
from lxml import etree
from signxml.verifier import SignatureConfiguration, XMLVerifier
from sqlalchemy import func, select

from keystore.db.schema import AUDIT_INTENTS
from tests.hsm_support import founded, token
from tests.interop.loopback import Consumer, SharedCache, judged, served
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tools.service import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

__all__ = ["founded", "token"]

AUDIENCE: Final = "https://api.example"
RECIPIENT: Final = "https://sp.example/acs"
TTL: Final = 600  # seconds that a token lives, and the longest that the key allows
STEP: Final = timedelta(seconds=11)
TOKENS_A_STEP: Final = 9
ROTATED_AT: Final = (120, 1800)  # seconds after the beginning
LENGTH: Final = 3960
FETCHED_EVERY: Final = timedelta(seconds=600)
PUBLISHED_AHEAD: Final = 900  # seconds
KEPT_AFTER: Final = TTL + 600
DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
MD: Final = "{urn:oasis:names:tc:SAML:2.0:metadata}"


@dataclass
class World:
    """The service, its address and its clock, a shared cache in front, and the keys that are rotated."""

    service: ServiceInProcess
    clock: MovedClock
    cache: SharedCache
    url: str
    cached_url: str
    identity: Caller
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def key_set(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.service.made(None, "GET", "/issuers/shop/jwks.json")["keys"]
        return found

    def tokens(self, count: int = TOKENS_A_STEP) -> list[str]:
        items = [{"claims": {"sub": f"s{number}"}, "ttl": TTL} for number in range(count)]
        results = self.identity.json("POST", f"/v1/keys/{self.keys['jwt']}/jwts", {"items": items})["results"]
        return [result["token"] for result in results]

    def response(self) -> bytes:
        body = {"subject": "s", "audience": AUDIENCE, "recipient": RECIPIENT}
        answer = self.identity.json("POST", f"/v1/keys/{self.keys['saml']}/assertions", body)
        return base64.b64decode(answer["results"][0]["response"])

    def rotate(self, purpose: str, *, now: bool = False) -> None:
        self.service.made("user/key-admin", "POST", f"/v1/keys/{self.keys[purpose]}/rotate", {"now": now})

    def consumers(self, stack: contextlib.ExitStack) -> list[Consumer]:
        """jose and PyJWKClient, straight and behind the shared cache."""
        made = []
        for way, url in (("straight", self.url), ("cached", self.cached_url)):
            arguments = (f"{url}/issuers/shop/jwks.json", "https://shop.example", AUDIENCE)
            made += [Consumer.jose(f"jose {way}", *arguments), Consumer.pyjwt(f"PyJWKClient {way}", *arguments)]
        return [stack.enter_context(consumer) for consumer in made]

    def metadata_signatures(self) -> int:
        found = select(func.count()).select_from(AUDIT_INTENTS).where(AUDIT_INTENTS.c.action == "SignMetadata")
        with self.service.services.keystore.database.read() as connection:
            return int(connection.execute(found).scalar_one())


@pytest.fixture
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    clock = MovedClock(datetime.now(UTC).replace(microsecond=0))
    with (
        running_service(token, tmp_path_factory.mktemp("rotation"), clock=clock) as service,
        served(service.client.application) as url,
    ):
        cache = SharedCache(service.client.application, clock)
        with served(cache) as cached_url, Caller(url, service.tokens["role/ci"]) as identity:
            world = World(service, clock, cache, url, cached_url, identity)
            service.made("user/key-admin", "POST", "/v1/issuers", {"name": "shop", "url": "https://shop.example"})
            tokens = {"max_ttl": TTL, "audiences": [AUDIENCE]}
            assertions = {"audiences": [AUDIENCE], "recipients": [RECIPIENT]}
            for purpose, members in (("jwt", tokens), ("saml", assertions)):
                made = service.make_key(f"shop-{purpose}", purpose=purpose, issuer="shop", **members)
                world.keys[purpose] = made["id"]
            yield world


@dataclass
class StubbornParty:
    """Fetches when its time has come and never in between, through the shared cache: all that it may know is old."""

    fetches_at: datetime
    keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    certificates: set[bytes] = field(default_factory=set)

    def fetch_if_due(self, world: World) -> None:
        if world.clock() >= self.fetches_at:
            self.fetches_at += FETCHED_EVERY
            members = json.loads(world.cache.get("/issuers/shop/jwks.json").data)
            self.keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(members).keys if key.key_id}
            metadata = etree.fromstring(world.cache.get("/issuers/shop/saml/metadata").data)
            listed = metadata.iterfind(f".//{MD}KeyDescriptor//{DS}X509Certificate")
            self.certificates = {base64.b64decode(node.text or "") for node in listed}

    def judge_token(self, token: str) -> str:
        key = self.keys.get(jwt.get_unverified_header(token)["kid"])
        if key is None:
            return "unknown key"
        jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            audience=AUDIENCE,
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},  # this process has another clock
        )
        return "verified"

    def judge_response(self, response: bytes) -> str:
        assertion = next(etree.fromstring(response).iter("{urn:oasis:names:tc:SAML:2.0:assertion}Assertion"))
        (node,) = assertion.iter(f"{DS}X509Certificate")
        named = base64.b64decode(node.text or "")
        if named not in self.certificates:
            return "unknown certificate"
        leaf = x509.load_der_x509_certificate(named)
        own_time = SignatureConfiguration(verification_time=leaf.not_valid_before_utc)
        XMLVerifier().verify(etree.tostring(assertion), x509_cert=leaf, id_attribute="ID", expect_config=own_time)
        return "verified"


@dataclass
class Run:
    """What happened, second by second since the beginning."""

    world: World
    consumers: list[Consumer]
    parties: list[StubbornParty]
    beginning: datetime
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    signed_by: dict[str, list[int]] = field(default_factory=dict)  # kid -> when it signed
    listed: dict[str, list[int]] = field(default_factory=dict)  # kid -> when it was published
    alive: list[tuple[datetime, list[str]]] = field(default_factory=list)  # tokens before the end of their life
    issued: int = 0

    @property
    def second(self) -> int:
        return int((self.world.clock() - self.beginning).total_seconds())

    def step(self, *, with_assertion: bool) -> None:
        """Tokens are issued, and judged by everybody together with some that are about to expire."""
        world = self.world
        for key in world.key_set:
            self.listed.setdefault(key["kid"], []).append(self.second)
        fresh = world.tokens()
        self.issued += len(fresh)
        self.signed_by.setdefault(jwt.get_unverified_header(fresh[0])["kid"], []).append(self.second)
        self.alive.append((world.clock(), fresh))
        old: list[str] = []
        while self.alive[0][0] + timedelta(seconds=TTL) - STEP <= world.clock():
            old = self.alive.pop(0)[1][:2]
        for name, answers in judged(self.consumers, world.clock(), fresh + old).items():
            self.verdicts.update((name, answer) for answer in answers)
        response = world.response() if with_assertion else None
        for party in self.parties:
            party.fetch_if_due(world)
            if party.keys:
                self.verdicts.update(("every ten minutes", party.judge_token(one)) for one in fresh[:1] + old[:1])
            if party.keys and response is not None:
                self.verdicts["service provider", party.judge_response(response)] += 1


def test_no_relying_party_refuses_anything_while_keys_are_rotated(world: World) -> None:
    with contextlib.ExitStack() as stack:
        beginning = world.clock()
        parties = [StubbornParty(beginning + timedelta(seconds=100 * number)) for number in range(6)]
        run = Run(world, world.consumers(stack), parties, beginning)
        to_come = list(ROTATED_AT)
        for step in itertools.count():
            if run.second > LENGTH:
                break
            if to_come and run.second >= to_come[0]:
                to_come.pop(0)
                world.rotate("jwt")
                world.rotate("saml")
            run.step(with_assertion=step % 10 == 0)
            world.clock.move(STEP)
    assert {verdict for _, verdict in run.verdicts} == {"verified"}, run.verdicts
    assert run.issued > 3_000
    assert all(run.verdicts[consumer.name, "verified"] > run.issued for consumer in run.consumers)
    assert run.verdicts["every ten minutes", "verified"] > 3_000
    assert run.verdicts["service provider", "verified"] > 200
    # One for each thing that the metadata had to say: two versions more, and each beginning to sign.
    assert world.metadata_signatures() == 1 + 2 * len(ROTATED_AT)
    require_timeline(run)


def require_timeline(run: Run) -> None:
    """The one that is promised: published ahead, and kept until nothing that it signed counts any more."""
    kids = list(run.signed_by)
    assert len(kids) == 1 + len(ROTATED_AT)
    slack = int(STEP.total_seconds())
    for rotated, old, new in zip(ROTATED_AT, kids, kids[1:], strict=False):
        published, began, ended = run.listed[new][0], run.signed_by[new][0], run.listed[old][-1]
        assert 0 <= published - rotated < slack
        assert 0 <= began - published - PUBLISHED_AHEAD < slack
        assert run.signed_by[old][-1] < began
        assert KEPT_AFTER - 2 * slack < ended - began <= KEPT_AFTER


def refusals(verdicts: dict[str, list[str]]) -> dict[str, set[str]]:
    return {name: set(answers) - {"verified"} for name, answers in verdicts.items()}


def test_without_publishing_ahead_the_same_parties_refuse_good_tokens(world: World) -> None:
    """`now: true`, for emergencies, has a price: each party refuses until it fetches again, or its cache does."""
    with contextlib.ExitStack() as stack:
        consumers = world.consumers(stack)
        assert not any(refusals(judged(consumers, world.clock(), world.tokens())).values())  # and all have fetched now
        world.clock.move(timedelta(seconds=5))
        world.rotate("jwt", now=True)
        at_once = refusals(judged(consumers, world.clock(), world.tokens()))
        assert at_once == {
            **{name: {"ERR_JWKS_NO_MATCHING_KEY"} for name in ("jose straight", "jose cached")},
            **{name: {"PyJWKClientError"} for name in ("PyJWKClient straight", "PyJWKClient cached")},
        }
        world.clock.move(timedelta(seconds=30))  # their cooldown is over; the shared cache's copy is not
        later = refusals(judged(consumers, world.clock(), world.tokens()))
        assert {name for name, found in later.items() if found} == {"jose cached", "PyJWKClient cached"}
        world.clock.move(timedelta(seconds=300))
        assert not any(refusals(judged(consumers, world.clock(), world.tokens())).values())


def test_with_publishing_ahead_they_do_not_at_the_very_moment(world: World) -> None:
    """The same parties, the same moments, by the usual way: fetched 5 s before the rotation, asked at activation."""
    with contextlib.ExitStack() as stack:
        consumers = world.consumers(stack)
        judged(consumers, world.clock(), world.tokens())
        world.clock.move(timedelta(seconds=5))
        world.rotate("jwt")
        before = jwt.get_unverified_header(world.tokens(1)[0])["kid"]
        for wait in (PUBLISHED_AHEAD - 1, 1, 1):
            world.clock.move(timedelta(seconds=wait))
            assert not any(refusals(judged(consumers, world.clock(), world.tokens())).values())
        assert jwt.get_unverified_header(world.tokens(1)[0])["kid"] != before
