"""Every route by everybody: the status, and nothing else: made from the routes, held against one table.

Three things are shown at once: each caller gets the status of the table for a key (or principal) that is there and for
one that is not; what may not be seen answers word for word like what is not there; and a call that is refused leaves
every row of the database as it was.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from keystore.access import Change
from keystore.api import AccessKeyRecord, CredentialRecord, PrincipalRecord
from keystore.db.schema import METADATA
from signer.access import Duty
from signer.access.short_form import document_of
from signer.authn.tokens import new_access_key_id, new_token, stored_form
from signer.web.routes import ENDPOINTS
from tests.oidc import AUDIENCE, claims, key_set, new_key, signed
from tests.signer.certificates.outside import outside_chain
from tests.signer.service import PEOPLE, ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from werkzeug.test import TestResponse

    from keystore.hsm import Token

# Whoever calls, in the order of the columns below.
CALLERS: Final = (
    "administrator",
    "key administrator of the key",
    "key administrator of others",
    "key user of the key",
    "key user of others",
    "auditor",
    "nobody",  # no credential
    "wrong credential",
    "deleted principal",
    "disabled root",
)
ANYBODY: Final = "200 200 200 200 200 200 200 200 200 200"
NO_SUCH: Final = "404 404 404 404 404 404 404 404 404 404"
ONLY_IDENTITIES: Final = "200 403 403 403 403 403 401 401 401 401"
NO_IDENTITY: Final = "404 403 403 403 403 403 401 401 401 401"
ONLY_KEYS: Final = "403 200 200 403 403 403 401 401 401 401"
ONLY_ITS_ADMINISTRATORS: Final = "403 200 404 403 403 403 401 401 401 401"
NO_KEY_TO_ADMINISTER: Final = "403 404 404 403 403 403 401 401 401 401"
ONLY_ITS_USERS: Final = "403 403 403 200 404 403 401 401 401 401"
NO_KEY_TO_USE: Final = "403 403 403 404 404 403 401 401 401 401"
ITS_PEOPLE: Final = "403 200 404 200 404 200 401 401 401 401"
NO_KEY_TO_SEE: Final = "403 404 404 404 404 404 401 401 401 401"
# What its administrators and any auditor read.
ITS_REVIEWERS: Final = "403 200 404 403 403 200 401 401 401 401"
NO_KEY_TO_REVIEW: Final = "403 404 404 403 403 404 401 401 401 401"
# A published key's public half is anybody's, whatever their credential. Of another, who has no credential is told
# nothing; who shows a wrong one is told so.
OPEN_TO_ITS_PEOPLE: Final = "403 200 404 200 404 403 404 401 401 401"
OPEN_TO_NOBODY: Final = "403 404 404 404 404 403 404 401 401 401"
ONLY_AUDITORS: Final = "403 403 403 403 403 200 401 401 401 401"
_REVIEWED: Final = {"present": ITS_REVIEWERS, "absent": NO_KEY_TO_REVIEW}
_ADMINISTERED: Final = {"present": ONLY_ITS_ADMINISTRATORS, "absent": NO_KEY_TO_ADMINISTER}
_IDENTITY: Final = {"present": ONLY_IDENTITIES, "absent": "404 403 403 403 403 403 401 401 401 401"}
_OWN_ALONE: Final = {
    "present": "403 403 403 403 403 403 401 401 401 401",
    "absent": "403 403 403 403 403 403 401 401 401 401",
}
NOT_FOUND_WITH_A_CREDENTIAL: Final = "404 404 404 404 404 404 401 401 401 401"
# Of a request that is there: the key's administrator sees it and has no vote, nor has who made it.
_VOTED: Final = {"present": "404 403 404 403 404 200 401 401 401 401", "absent": NOT_FOUND_WITH_A_CREDENTIAL}
_OPEN: Final = {"present": ANYBODY, "absent": NO_SUCH}
_USED: Final = {"present": ONLY_ITS_USERS, "absent": NO_KEY_TO_USE}

# The table: each route, for a target that is there, for one that is not, for a key that is not published.
EXPECTED: Final[dict[str, dict[str, str]]] = {
    "GET /healthz": {"present": ANYBODY},
    "GET /readyz": {"present": ANYBODY},
    "GET /openapi.json": {"present": ANYBODY},
    "GET /docs": {"present": ANYBODY},
    "GET /v1/whoami": {"present": "200 200 200 200 200 200 401 401 401 401"},
    "POST /v1/principals": {"present": "201 403 403 403 403 403 401 401 401 401"},
    "GET /v1/principals": {"present": ONLY_IDENTITIES},
    "GET /v1/principals/<kind>/<name>": {
        "present": ONLY_IDENTITIES,
        "absent": "404 403 403 403 403 403 401 401 401 401",
    },
    "DELETE /v1/principals/<kind>/<name>": {
        "present": ONLY_IDENTITIES,
        "absent": "404 403 403 403 403 403 401 401 401 401",
    },
    "POST /v1/principals/<kind>/<name>/disable": _IDENTITY,
    "POST /v1/principals/<kind>/<name>/enable": _IDENTITY,
    "PUT /v1/principals/<kind>/<name>/duty": _IDENTITY,
    "POST /v1/principals/<kind>/<name>/enrolments": {
        "present": "201 403 403 403 403 403 401 401 401 401",
        "absent": NO_IDENTITY,
    },
    # Another's: of their own everybody makes, lists and ends them (test_tokens.py).
    "POST /v1/principals/<kind>/<name>/tokens": _OWN_ALONE,
    "GET /v1/principals/<kind>/<name>/tokens": _IDENTITY,
    "DELETE /v1/principals/<kind>/<name>/tokens/<credential>": _IDENTITY,
    # Another's too (test_access_keys.py).
    "POST /v1/principals/<kind>/<name>/access-keys": _OWN_ALONE,
    "GET /v1/principals/<kind>/<name>/access-keys": _IDENTITY,
    "POST /v1/principals/<kind>/<name>/access-keys/<access_key>/disable": _OWN_ALONE,
    "POST /v1/principals/<kind>/<name>/access-keys/<access_key>/enable": _OWN_ALONE,
    "DELETE /v1/principals/<kind>/<name>/access-keys/<access_key>": _IDENTITY,
    "POST /v1/enrolments": {
        "present": "201 201 201 201 201 201 201 201 201 201",
        "absent": "401 401 401 401 401 401 401 401 401 401",
    },
    "POST /v1/keys": {"present": "403 201 201 403 403 403 401 401 401 401"},
    "GET /v1/keys": {"present": "403 200 200 200 200 200 401 401 401 401"},
    "GET /v1/keys/<key>": {"present": ITS_PEOPLE, "absent": NO_KEY_TO_SEE},
    "POST /v1/keys/<key>/rotate": _ADMINISTERED,
    "POST /v1/keys/<key>/disable": _ADMINISTERED,
    # Of a key of this region alone, and of nothing that another region has sealed: refused once it is permitted.
    "POST /v1/keys/<key>/replicas": {
        "present": "403 422 404 403 403 403 401 401 401 401",
        "absent": NO_KEY_TO_ADMINISTER,
    },
    "POST /v1/keys/<key>/primary-region": {
        "present": "403 422 404 403 403 403 401 401 401 401",
        "absent": NO_KEY_TO_ADMINISTER,
    },
    "POST /v1/replicas": {"present": "403 422 422 403 403 403 401 401 401 401"},
    "POST /v1/keys/<key>/enable": _ADMINISTERED,
    "POST /v1/keys/<key>/schedule-deletion": _ADMINISTERED,
    "POST /v1/keys/<key>/cancel-deletion": _ADMINISTERED,
    "POST /v1/keys/<key>/aliases": _ADMINISTERED,
    # Of another's alias nothing is told either, be the key that it names seen or not.
    "POST /v1/keys/<key>/aliases/move": _ADMINISTERED,
    "POST /v1/keys/<key>/aliases/remove": _ADMINISTERED,
    "POST /v1/keys/<key>/tags": _ADMINISTERED,
    "POST /v1/keys/<key>/tags/remove": _ADMINISTERED,
    "PUT /v1/keys/<key>/description": _ADMINISTERED,
    "PUT /v1/keys/<key>/rotation": _ADMINISTERED,
    "DELETE /v1/keys/<key>/rotation": _ADMINISTERED,
    "GET /v1/keys/<key>/policy": _REVIEWED,
    "PUT /v1/keys/<key>/policy": _ADMINISTERED,
    "POST /v1/keys/<key>/csr": _ADMINISTERED,
    "PUT /v1/keys/<key>/certificate": _ADMINISTERED,
    "POST /v1/keys/<key>/certificate/renew": _ADMINISTERED,
    "POST /v1/keys/<key>/certificate/revoke": _ADMINISTERED,
    "POST /v1/keys/<key>/signatures": _USED,
    "POST /v1/keys/<key>/artifacts": _USED,
    "POST /v1/keys/<key>/jwts": _USED,
    "POST /v1/keys/<key>/assertions": _USED,
    **{
        f"POST /v1/keys/<key>/{call}": _USED
        for call in (
            *("encrypt", "decrypt", "data-keys", "data-keys/without-plaintext", "macs", "macs/verify"),
            *("data-key-pairs", "data-key-pairs/without-plaintext", "shared-secrets", "re-encrypt"),
            *("encapsulate", "decapsulate"),
        )
    },
    # What anybody who has the public key could do alone.
    "POST /v1/keys/<key>/signatures/verify": {
        "present": "403 200 404 200 404 403 401 401 401 401",
        "absent": "403 404 404 404 404 403 401 401 401 401",
    },
    # The ciphertext names its key.
    "POST /v1/decrypt": {"present": ONLY_ITS_USERS, "absent": NO_KEY_TO_USE},
    "POST /v1/random": {"present": "403 200 200 200 200 403 401 401 401 401"},
    "POST /v1/issuers": {"present": "403 201 201 403 403 403 401 401 401 401"},
    "GET /v1/issuers": {"present": ONLY_KEYS},
    "GET /v1/domains": {"present": ONLY_KEYS},
    "GET /issuers/<issuer>/jwks.json": {"present": ANYBODY, "absent": NO_SUCH},
    "GET /.well-known/jwks.json": {"present": ANYBODY},
    "GET /issuers/<issuer>/.well-known/openid-configuration": {"present": ANYBODY, "absent": NO_SUCH},
    "GET /.well-known/openid-configuration": {"present": NO_SUCH},  # this default issuer's url has a path
    "GET /issuers/<issuer>/saml/metadata": {"present": ANYBODY, "absent": NO_SUCH},
    "GET /saml/metadata": {"present": ANYBODY},
    "GET /v1/keys/<key>/public-key": {
        "present": ANYBODY,
        "absent": OPEN_TO_NOBODY,
        "unpublished": OPEN_TO_ITS_PEOPLE,
    },
    "GET /v1/keys/<key>/certificate": {"present": ANYBODY, "absent": NO_SUCH, "unpublished": NO_SUCH},
    "GET /v1/keys/<key>/approval-rule": {
        "present": "404 200 404 200 404 200 401 401 401 401",
        "absent": NOT_FOUND_WITH_A_CREDENTIAL,
    },
    "PUT /v1/keys/<key>/approval-rule": _ADMINISTERED,
    "DELETE /v1/keys/<key>/approval-rule": _ADMINISTERED,
    "POST /v1/keys/<key>/approval-requests": {
        "present": "403 403 403 201 404 403 401 401 401 401",
        "absent": NO_KEY_TO_USE,
    },
    "GET /v1/approval-requests": {"present": "200 200 200 200 200 200 401 401 401 401"},
    "GET /v1/approval-requests/<request>": {
        "present": "404 200 404 200 404 200 401 401 401 401",  # the auditor is an approver of it, the key user made it
        "absent": NOT_FOUND_WITH_A_CREDENTIAL,
    },
    "POST /v1/approval-requests/<request>/approve": _VOTED,
    "POST /v1/approval-requests/<request>/reject": _VOTED,
    "POST /v1/approval-requests/<request>/withdraw": {
        "present": "404 403 404 200 404 403 401 401 401 401",
        "absent": NOT_FOUND_WITH_A_CREDENTIAL,
    },
    "GET /v1/ca": {"present": ANYBODY},
    "GET /v1/ca/crl": {"present": ANYBODY},
    "GET /v1/trust": {"present": ANYBODY},
    "GET /log/checkpoint": {"present": ANYBODY},
    "GET /log/key": {"present": ANYBODY},
    "GET /log/tile/<level>/<path:tile>": _OPEN,
    "GET /log/tile/entries/<path:tile>": _OPEN,
    "GET /log/proof/<index>": _OPEN,
    "GET /logs/<log>/checkpoint": _OPEN,
    "GET /logs/<log>/key": _OPEN,
    "GET /logs/<log>/tile/<level>/<path:tile>": _OPEN,
    "GET /logs/<log>/tile/entries/<path:tile>": _OPEN,
    "GET /logs/<log>/proof/<index>": _OPEN,
    # Of others; that everybody may do the same with their own: test_public_credentials.py.
    "POST /v1/principals/<kind>/<name>/public-credentials": {
        "present": "201 403 403 403 403 403 401 401 401 401",
        "absent": "404 403 403 403 403 403 401 401 401 401",
    },
    "GET /v1/principals/<kind>/<name>/public-credentials": {
        "present": ONLY_IDENTITIES,
        "absent": "404 403 403 403 403 403 401 401 401 401",
    },
    "DELETE /v1/principals/<kind>/<name>/public-credentials/<binding>": {
        "present": ONLY_IDENTITIES,
        "absent": "404 403 403 403 403 403 401 401 401 401",
    },
    # About the key's user: who is that user asks about itself.
    "POST /v1/access/explain": {
        "present": "403 200 404 200 403 200 401 401 401 401",
        "absent": "403 404 404 404 403 404 401 401 401 401",
    },
    "POST /v1/access/who-can": _REVIEWED,
    "GET /v1/access/actions": {"present": ANYBODY},
    "POST /v1/keys/<key>/grants": {**_ADMINISTERED, "present": "403 201 404 403 403 403 401 401 401 401"},
    "GET /v1/keys/<key>/grants": _REVIEWED,
    "POST /v1/keys/<key>/grants/<grant>/retire": {
        "present": "403 200 404 200 404 403 401 401 401 401",
        "absent": "403 404 404 404 404 403 401 401 401 401",
    },
    "DELETE /v1/keys/<key>/grants/<grant>": _ADMINISTERED,
    "GET /v1/keys/<key>/policy/versions": _REVIEWED,
    "GET /v1/keys/<key>/policy/versions/<revision>": _REVIEWED,
    "POST /v1/keys/<key>/policy/versions/<revision>/restore": _ADMINISTERED,
    "GET /v1/principals/<kind>/<name>/policies": _IDENTITY,
    "GET /v1/principals/<kind>/<name>/policies/<policy>": _IDENTITY,
    "PUT /v1/principals/<kind>/<name>/policies/<policy>": _IDENTITY,
    "DELETE /v1/principals/<kind>/<name>/policies/<policy>": _IDENTITY,
    "GET /v1/principals/<kind>/<name>/policy-versions": _IDENTITY,
    "POST /v1/trusted-issuers": {"present": "201 403 403 403 403 403 401 401 401 401"},
    "GET /v1/trusted-issuers": {"present": ONLY_IDENTITIES},
    "GET /v1/trusted-issuers/<trusted>": {"present": ONLY_IDENTITIES, "absent": NO_IDENTITY},
    "PUT /v1/trusted-issuers/<trusted>": {"present": ONLY_IDENTITIES, "absent": NO_IDENTITY},
    "DELETE /v1/trusted-issuers/<trusted>": {"present": ONLY_IDENTITIES, "absent": NO_IDENTITY},
    "GET /v1/audit/entries": {"present": ONLY_AUDITORS},
    "GET /v1/audit/entries/<index>": {
        "present": ONLY_AUDITORS,
        "absent": "403 403 403 403 403 404 401 401 401 401",
    },
    "GET /v1/audit/report": {"present": ONLY_AUDITORS},
    "GET /v1/usage": {"present": "200 403 403 403 403 200 401 401 401 401"},
    "GET /v1/audit/history": {"present": ONLY_AUDITORS},
    "GET /v1/audit/export": {"present": ONLY_AUDITORS},
    "POST /v1/token-exchange": {"present": ANYBODY, "absent": "401 401 401 401 401 401 401 401 401 401"},
}
CASES: Final = [
    (route, target, caller, int(status))
    for route, rows in EXPECTED.items()
    for target, row in rows.items()
    for caller, status in zip(CALLERS, row.split(), strict=True)
]
MEMBERS: Final[dict[str, dict[str, object]]] = {
    "artifact": {},
    "general": {},
    "jwt": {"audiences": ["https://api.example"], "max_ttl": 600},
    "saml": {"audiences": ["https://sp.example"], "recipients": ["https://sp.example/acs"]},
    "encrypt": {"spec": "SYMMETRIC_DEFAULT"},
    "mac": {"spec": "HMAC_256"},
    "agree": {},
    "encapsulate": {"spec": "ML_KEM_768"},
}
QUORUM: Final = {"approvers": ["user/auditor"], "needed": 1, "window_seconds": 600}
ARTIFACTS: Final = {
    "artifacts": [{"name": "a.bin", "size": 3, "digests": {"sha256": "ab" * 32}}],
    "formats": ["raw"],
}
NO_USE: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Action": "kms:Sign*", "Resource": "*"}],
}
WORKLOADS_KEY: Final = new_key("workloads-1")
# By the call about a key, the purpose of the key that it needs.
USES: Final = {
    "signatures": "general",
    "artifacts": "artifact",
    "jwts": "jwt",
    "assertions": "saml",
    **dict.fromkeys(("encrypt", "decrypt", "data-keys", "data-keys/without-plaintext"), "encrypt"),
    "macs": "mac",
    "macs/verify": "mac",
    "signatures/verify": "general",
    **dict.fromkeys(("data-key-pairs", "data-key-pairs/without-plaintext", "re-encrypt"), "encrypt"),
    "shared-secrets": "agree",
    **dict.fromkeys(("encapsulate", "decapsulate"), "encapsulate"),
}
ROWS: Final = {
    table.name: str(select(table)) for table in METADATA.sorted_tables if not table.name.startswith(("audit_", "log_"))
}


@dataclass(frozen=True)
class World:
    """A service of its own, everybody who may try, and one key of each purpose."""

    service: ServiceInProcess
    tokens: dict[str, str | None]
    keys: dict[str, str]
    held: dict[str, Any] = field(default_factory=dict)  # the approval request that was made last
    results: dict[str, Any] = field(default_factory=dict)  # of calls with a key, to be asked about, each made once

    def call(self, caller: str, method: str, path: str, body: object) -> TestResponse:
        return self.service.call(self.tokens[caller], method, path, body)

    def rows(self) -> dict[str, list[Any]]:
        """Every row of every table but the audit trail and its log; past SQLAlchemy, which takes long for so many."""
        with self.service.services.keystore.database.read() as connection:
            driver: Any = connection.connection.driver_connection  # either engine's has this
            return {name: driver.execute(statement).fetchall() for name, statement in ROWS.items()}


@pytest.fixture(scope="module")
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_service(token, tmp_path_factory.mktemp("matrix"), software_specs=("ML_KEM_768",)) as service:
        gone, root = new_token(), new_token()
        _make_principal(service, "role/gone", "key-user", "enabled", gone)
        _make_principal(service, "user/root", "root", "disabled", root)
        keys = {
            purpose: service.made("user/key-admin", "POST", "/v1/keys", {**_new_key(purpose), "users": ["role/ci"]})[
                "id"
            ]
            for purpose in MEMBERS
        }
        policy = {"administrators": ["user/key-admin"], "users": ["role/ci", "role/gone"]}
        service.made("user/key-admin", "PUT", f"/v1/keys/{keys['general']}/policy", policy)
        service.made("user/admin", "DELETE", "/v1/principals/role/gone")
        assert service.call(None, "GET", "/saml/metadata").status_code == 200  # signed once for all
        people = ("user/admin", "user/key-admin", "user/other-key-admin", "role/ci", "role/other", "user/auditor")
        tokens = [*(service.tokens[name] for name in people), None, new_token(), gone, root]
        trust = {"name": "workloads", **_trust(), "url": "https://workloads.example"}
        service.made("user/admin", "POST", "/v1/trusted-issuers", trust)
        yield World(service, dict(zip(CALLERS, tokens, strict=True)), keys)


def _make_principal(service: ServiceInProcess, name: str, duty: str, state: str, token: str) -> None:
    moment = datetime.now(UTC)
    stored = stored_form(token)
    service.services.keystore.create_principal(
        PrincipalRecord(name, duty, state, moment, "user/admin"),
        credential=CredentialRecord(stored.id, name, stored.digest, "enabled", moment, None),
    )


def _new_key(purpose: str) -> dict[str, object]:
    return {"alias": f"the-{purpose}", "spec": "ECC_NIST_P256", "purpose": purpose, **MEMBERS[purpose]}


def _new_name() -> str:
    return f"x{uuid.uuid4().hex[:16]}"


def _outside_chain(world: World) -> str:
    """A chain that may be installed for the artifact key."""
    (version,) = world.service.services.keystore.get_key(world.keys["artifact"]).versions
    return outside_chain(version.public_key)


def _open_code(service: ServiceInProcess) -> str:
    made = service.made("user/admin", "POST", "/v1/principals", {"name": f"role/{_new_name()}", "duty": "auditor"})
    return str(made["enrolment_code"])


def _doomed_principal(service: ServiceInProcess) -> str:
    name = f"role/{_new_name()}"
    service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": "key-user"})
    return name


def _token_of(service: ServiceInProcess, name: str) -> str:
    """The short id of a token that the principal has from now on."""
    stored, moment = stored_form(new_token()), datetime.now(UTC)
    service.services.keystore.create_credential(
        CredentialRecord(stored.id, name, stored.digest, "enabled", moment, None)
    )
    return stored.id[:12]


def _access_key_of(service: ServiceInProcess, name: str, target: str) -> str:
    """The id of an access key that the principal has from now on, or one that nobody has."""
    access_key_id, keystore, moment = new_access_key_id(temporary=False), service.services.keystore, datetime.now(UTC)
    if target == "present":
        secret = keystore.sealed_secret("secret", access_key_id, name)
        ends = moment + timedelta(days=1)
        keystore.create_access_key(
            AccessKeyRecord(access_key_id, name, secret, "", "enabled", moment, name, ends), most=10
        )
    return access_key_id


def _credential(world: World, name: str, target: str) -> str:
    if target == "absent":
        return str(uuid.uuid4())
    body = {"match": "dns", "name": f"{_new_name()}.example"}
    return str(world.service.made("user/admin", "POST", f"/v1/principals/{name}/public-credentials", body)["id"])


def _trust() -> dict[str, object]:
    mapping = {"role": "role/ci", "conditions": {"repository": ["octo/app"]}}
    url = f"https://{_new_name()}.example"
    return {"url": url, "audiences": [AUDIENCE], "mappings": [mapping], "jwks": key_set(WORKLOADS_KEY)}


def _doomed_trust(service: ServiceInProcess) -> str:
    return str(service.made("user/admin", "POST", "/v1/trusted-issuers", {"name": _new_name(), **_trust()})["name"])


def _workload_token(*, known: bool) -> str:
    return signed(WORKLOADS_KEY, claims("https://workloads.example" if known else "https://others.example"))


def _key_path(world: World, route: str, target: str) -> str:
    """The path about a key in the state that the call needs; made anew where the call uses it up."""
    service, (_, _, last) = world.service, route.rpartition("/")
    if target == "absent":
        return str(uuid.uuid4())
    if target == "unpublished":
        return world.keys["general"]
    if (call := route.partition("<key>/")[2]) in USES:
        return world.keys[USES[call]]
    if last == "approval-requests":
        return _with_a_rule(world)
    if last == "rotation":
        return str(service.make_key(_new_name(), spec="SYMMETRIC_DEFAULT", purpose="encrypt")["id"])
    if route == "PUT /v1/keys/<key>/approval-rule":
        return str(service.make_key(_new_name())["id"])
    if last == "revoke":
        return str(service.make_key(_new_name())["id"])
    preparations: dict[str, Callable[[str], object]] = {
        "rotate": lambda _key: None,
        "disable": lambda _key: None,
        "enable": service.services.keystore.disable,
        "schedule-deletion": lambda _key: None,
        "cancel-deletion": service.services.keystore.schedule_deletion,
    }
    if last not in preparations:
        return world.keys["artifact"]
    key = service.make_key(_new_name(), purpose="general")["id"]
    preparations[last](key)
    return str(key)


def _alias_of_another(world: World) -> str:
    """One that a key like the one of the path has."""
    return str(world.service.make_key(_new_name())["alias"])


def _alias_of_its_own(world: World) -> str:
    keystore = world.service.services.keystore
    return keystore.create_alias(_new_name(), world.keys["artifact"], keystore.clock()).name


def _asked(world: World, target: str) -> str:
    return str(uuid.uuid4()) if target == "absent" else world.keys["general"]


def _with_a_rule(world: World, **classes: object) -> str:
    """A key whose approval rule names the auditor."""
    key = str(world.service.make_key(_new_name(), formats=["raw"])["id"])
    world.service.made("user/key-admin", "PUT", f"/v1/keys/{key}/approval-rule", {"sign": QUORUM, **classes})
    return key


def _open_request(world: World) -> Any:
    body = {"operation": "artifacts", "request": ARTIFACTS}
    return world.service.made("role/ci", "POST", f"/v1/keys/{_with_a_rule(world)}/approval-requests", body)


def _path(world: World, route: str, target: str) -> str:
    path = route.partition(" ")[2]
    if "<request>" in path:
        world.held.update(_open_request(world))
        return path.replace("<request>", str(uuid.uuid4()) if target == "absent" else world.held["id"])
    if "<kind>" in path:
        name = "role/nobody" if target == "absent" else _doomed_principal(world.service)
        if route.endswith("<name>/enable") and target == "present":
            world.service.services.keystore.set_principal_state(name, "disabled")
        token = _token_of(world.service, name) if "<credential>" in path and target == "present" else "0" * 12
        if "<policy>" in path and target != "absent":
            world.service.made("user/admin", "PUT", f"/v1/principals/{name}/policies/no-use", {"policy": NO_USE})
        if "<binding>" in path:
            path = path.replace("<binding>", _credential(world, name, target))
        if "<access_key>" in path:
            path = path.replace("<access_key>", _access_key_of(world.service, name, target))
        path = path.replace("<credential>", token).replace("<policy>", "no-use")
        return path.replace("<kind>/<name>", name)
    if "<grant>" in path:
        grant = {"grantee": "role/ci", "operations": ["SignArtifact", "RetireGrant"]}
        made = world.service.made("user/key-admin", "POST", f"/v1/keys/{world.keys['artifact']}/grants", grant)
        path = path.replace("<grant>", made["id"])
    path = path.replace("<revision>", "1")
    if path.startswith("/log"):
        return _log_path(world, path, target)
    path = path.replace("<index>", "999999999" if target == "absent" else "0")
    if "<trusted>" in path:
        return path.replace("<trusted>", "nobody" if target == "absent" else _doomed_trust(world.service))
    path = path.replace("<issuer>", "nobody" if target == "absent" else "default")
    return path.replace("<key>", _key_path(world, route, target)) if "<key>" in path else path


def _log_path(world: World, path: str, target: str) -> str:
    """Something of the log; it has more than one entry from the start."""
    log = world.service.services.audit.log.signer.name.rpartition("/")[2]
    names = {"log": log, "level": "0", "path:tile": "000.p/1", "index": "0"}
    if target == "absent":
        names = {"log": log[::-1], "level": "0", "path:tile": "x999/999", "index": "999999999"}
    for name, value in names.items():
        path = path.replace(f"<{name}>", value)
    return path


def _result(world: World, purpose: str, call: str, body: dict[str, object]) -> Any:
    """What a user of the key is given."""
    if call not in world.results:
        path = f"/v1/keys/{world.keys[purpose]}/{call}"
        world.results[call] = world.service.made("role/ci", "POST", path, body)["results"][0]
    return world.results[call]


def _ciphertext(world: World, target: str) -> dict[str, object]:
    """Of the key, or of one that is not there: another service's."""
    made: str = _result(world, "encrypt", "encrypt", {"plaintext": "AAAA"})["ciphertext"]
    if target == "absent":
        octets = base64.b64decode(made)
        key = uuid.UUID(world.keys["encrypt"]).bytes
        assert key in octets
        made = base64.b64encode(octets.replace(key, uuid.uuid4().bytes)).decode()
    return {"ciphertext": made}


def _point(world: World) -> dict[str, object]:
    """The other side's public key; here the key's own does."""
    (version,) = world.service.services.keystore.get_key(world.keys["agree"]).versions
    return {"public_key": base64.b64encode(version.public_key).decode()}


def _mac(world: World) -> dict[str, object]:
    return {"message": "AAAA", "mac": _result(world, "mac", "macs", {"message": "AAAA"})["mac"]}


def _signature(world: World) -> dict[str, object]:
    made = _result(world, "general", "signatures", {"message": "AAAA"})
    return {"message": "AAAA", "signature": made["signature"]}


def _body(world: World, route: str, target: str) -> object:
    """A body that is right for the call, so that nothing but the caller decides."""
    bodies: dict[str, Callable[[], object]] = {
        "POST /v1/principals": lambda: {"name": f"role/{_new_name()}", "duty": "key-user"},
        "PUT /v1/principals/<kind>/<name>/duty": lambda: {"duty": "auditor"},
        "POST /v1/principals/<kind>/<name>/tokens": lambda: {"label": "laptop"},
        "POST /v1/enrolments": lambda: {"code": "sme_no" if target == "absent" else _open_code(world.service)},
        "POST /v1/keys": lambda: {"alias": _new_name(), "spec": "ECC_NIST_P256", "purpose": "general"},
        "POST /v1/keys/<key>/rotate": lambda: {"now": True},
        "POST /v1/keys/<key>/replicas": lambda: {"region": "eu-west-1"},
        "POST /v1/keys/<key>/primary-region": lambda: {"region": "eu-west-1"},
        "POST /v1/replicas": lambda: {
            "about": "gone",
            "account": "000000000000",
            "sender": "eu-west-1",
            "receiver": "us-east-1",
            "serial": 1,
            "key_id": f"mrk-{uuid.uuid4().hex}",
            "domain": "global",
        },
        "POST /v1/keys/<key>/schedule-deletion": lambda: {"days": 7},
        "PUT /v1/keys/<key>/policy": lambda: {"administrators": ["user/key-admin"], "users": ["role/ci"]},
        "PUT /v1/keys/<key>/certificate": lambda: {"chain": _outside_chain(world)},
        "POST /v1/keys/<key>/certificate/renew": lambda: {"replace_installed": True},
        "POST /v1/keys/<key>/certificate/revoke": lambda: {"reason": "superseded"},
        "POST /v1/keys/<key>/signatures": lambda: {"message": "AAAA"},
        "POST /v1/keys/<key>/encrypt": lambda: {"plaintext": "AAAA"},
        "POST /v1/keys/<key>/decrypt": lambda: _ciphertext(world, "present"),
        "POST /v1/decrypt": lambda: _ciphertext(world, target),
        "POST /v1/keys/<key>/data-key-pairs": lambda: {"spec": "ECC_NIST_P256"},
        "POST /v1/keys/<key>/data-key-pairs/without-plaintext": lambda: {"spec": "ECC_NIST_P256"},
        "POST /v1/keys/<key>/re-encrypt": lambda: {
            **_ciphertext(world, "present"),
            "destination": world.keys["encrypt"],
        },
        "POST /v1/keys/<key>/shared-secrets": lambda: _point(world),
        "POST /v1/keys/<key>/encapsulate": dict,
        "POST /v1/keys/<key>/decapsulate": lambda: {
            "ciphertext": _result(world, "encapsulate", "encapsulate", {})["ciphertext"]
        },
        "POST /v1/keys/<key>/macs": lambda: {"message": "AAAA"},
        "POST /v1/keys/<key>/macs/verify": lambda: _mac(world),
        "POST /v1/keys/<key>/signatures/verify": lambda: _signature(world),
        "POST /v1/keys/<key>/artifacts": lambda: {
            "artifacts": [{"name": "a.bin", "size": 3, "digests": {"sha256": "ab" * 32}}],
            "formats": ["cms"],
        },
        "POST /v1/keys/<key>/jwts": lambda: {"claims": {"sub": "someone"}},
        "POST /v1/keys/<key>/assertions": lambda: {
            "subject": "someone",
            "audience": "https://sp.example",
            "recipient": "https://sp.example/acs",
        },
        "POST /v1/principals/<kind>/<name>/public-credentials": lambda: {
            "match": "dns",
            "name": f"{_new_name()}.example",
        },
        "POST /v1/keys/<key>/aliases": lambda: {"alias": f"app/{_new_name()}"},
        "POST /v1/keys/<key>/aliases/move": lambda: {"alias": _alias_of_another(world)},
        "POST /v1/keys/<key>/aliases/remove": lambda: {"alias": _alias_of_its_own(world)},
        "POST /v1/keys/<key>/tags": lambda: {"tags": {"stage": "test"}},
        "POST /v1/keys/<key>/tags/remove": lambda: {"names": ["stage"]},
        "PUT /v1/keys/<key>/description": lambda: {"description": "signs releases"},
        "PUT /v1/keys/<key>/rotation": lambda: {"days": 90},
        "POST /v1/keys/<key>/grants": lambda: {"grantee": "role/ci", "operations": ["DescribeKey"], "name": "same"},
        "PUT /v1/principals/<kind>/<name>/policies/<policy>": lambda: {"policy": NO_USE},
        "POST /v1/trusted-issuers": lambda: {"name": _new_name(), **_trust()},
        "PUT /v1/trusted-issuers/<trusted>": _trust,
        "POST /v1/token-exchange": lambda: {"subject_token": _workload_token(known=target == "present")},
        "PUT /v1/keys/<key>/approval-rule": lambda: {"sign": QUORUM},
        "POST /v1/keys/<key>/approval-requests": lambda: {"operation": "artifacts", "request": ARTIFACTS},
        "POST /v1/approval-requests/<request>/approve": lambda: {"request_sha256": world.held["request_sha256"]},
        "POST /v1/issuers": lambda: {"name": _new_name(), "url": "https://issuer.example"},
        "POST /v1/access/explain": lambda: {"principal": "role/ci", "action": "Sign", "key": _asked(world, target)},
        "POST /v1/access/who-can": lambda: {"action": "Sign", "key": _asked(world, target)},
    }
    return bodies[route]() if route in bodies else None


def test_the_table_holds_every_route_and_no_other(world: World) -> None:
    routes = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}
    # The wire protocol's calls have a table of their own: tests/signer/kms/test_matrix.py.
    assert set(EXPECTED) == routes - {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.wire}
    application = world.service.client.application
    served = {
        f"{method} {rule.rule}"
        for rule in application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    assert served == routes
    assert {*PEOPLE.values(), Duty.ROOT} == set(Duty)  # each duty has a column


def test_every_call_about_a_key_is_tried_on_one_that_is_not_there() -> None:
    for route, rows in EXPECTED.items():
        assert ("<" in route or route == "POST /v1/decrypt") <= ("absent" in rows), route


def _code(route: str, target: str, caller: str, status: int) -> str:
    if status == 403 and "<request>" in route and EXPECTED[route]["absent"].split()[CALLERS.index(caller)] == "404":
        return "policy_forbids"  # it may see the request, but has no vote on it, or did not make it
    return {401: "unauthenticated", 403: "duty_forbids", 404: "not_found", 422: "unprocessable"}[status]


@pytest.mark.parametrize(("route", "target", "caller", "status"), CASES)
def test_each_caller_gets_the_status_of_the_table(
    world: World, route: str, target: str, caller: str, status: int
) -> None:
    method, path, body = route.partition(" ")[0], _path(world, route, target), _body(world, route, target)
    before = world.rows()
    answer = world.call(caller, method, path, body)
    assert answer.status_code == status, answer.get_data(as_text=True)
    if status >= 400:
        problem = answer.get_json()
        assert answer.mimetype == "application/problem+json"
        assert problem["status"] == status
        assert problem["code"] == _code(route, target, caller, status)
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    if status >= 400 or method == "GET" or "/access/" in route:
        assert world.rows() == before


HIDDEN: Final = [
    (route, target, caller)
    for route, target, caller, status in CASES
    if ("<key>" in route or "<request>" in route or "/access/" in route or route == "POST /v1/decrypt")
    and target != "absent"
    and status == 404
]


@pytest.mark.parametrize(("route", "target", "caller"), HIDDEN)
def test_a_key_that_may_not_be_seen_answers_as_one_that_is_not_there(
    world: World, route: str, target: str, caller: str
) -> None:
    method = route.partition(" ")[0]
    hidden, absent = (
        world.call(
            caller, method, _path(world, route, which), _body(world, route, which if "<" not in route else target)
        )
        for which in (target, "absent")
    )
    assert (hidden.status_code, absent.status_code) == (404, 404)
    without_id = [{**answer.get_json(), "request_id": ""} for answer in (hidden, absent)]
    assert without_id[0] == without_id[1]
    headers = [{name for name, _ in answer.headers} for answer in (hidden, absent)]
    assert headers[0] == headers[1]


@pytest.mark.parametrize("caller", ["key administrator of others", "key user of others"])
@pytest.mark.parametrize(
    "reference", ["the-general", "no-such-alias", "x" * 250, "3D3E6615-57E8-4024-8031-6C14A910BAF4"]
)
def test_names_of_keys_tell_as_little_as_their_ids(world: World, caller: str, reference: str) -> None:
    answers = [
        world.call(caller, "GET", f"/v1/keys/{name}", None).get_json() for name in (reference, str(uuid.uuid4()))
    ]
    assert {**answers[0], "request_id": ""} == {**answers[1], "request_id": ""}
    assert answers[0]["status"] == 404


def test_a_caller_that_is_both_administrator_and_user_by_name_still_never_signs(world: World) -> None:
    """Separation of duties does not hang on what a policy says: the duty decides first."""
    body = _body(world, "POST /v1/keys/<key>/signatures", "present")
    path = f"/v1/keys/{world.keys['general']}/signatures"
    with_both = {"administrators": ["user/key-admin"], "users": ["user/key-admin"]}
    refused = world.call("key administrator of the key", "PUT", f"/v1/keys/{world.keys['general']}/policy", with_both)
    assert (refused.status_code, refused.get_json()["field"]) == (422, "users")
    keystore = world.service.services.keystore

    def set_policy(administrators: list[str], users: list[str]) -> None:
        document = json.dumps(document_of(administrators, users, keystore.account))
        keystore.set_policy(world.keys["general"], document, Change("user/key-admin", keystore.clock()))

    set_policy(["user/key-admin"], ["role/ci", "user/key-admin"])
    assert world.call("key administrator of the key", "POST", path, body).status_code == 403
    set_policy(["user/key-admin", "role/ci"], ["role/ci"])
    assert world.call("key user of the key", "POST", path, body).status_code == 403
    set_policy(["user/key-admin"], ["role/ci"])
    assert world.call("key user of the key", "POST", path, body).status_code == 200
