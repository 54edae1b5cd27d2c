"""Must show, of the running service: random changes by its own people over HTTP, after each of which nobody administers
and uses a key, as judged from what is stored by the reference evaluator, and as tried by everybody over HTTP."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.access import Change, GrantState
from signer.access import Duty
from tests.signer.access.random_policies import seeded
from tests.signer.access.separation_model import everybody_who_does_both
from tests.signer.access.separation_sequences import (
    PEOPLE,
    ROOT,
    SEED,
    arns_of,
    random_grant,
    random_identity_policy,
    random_key_policy,
)
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from keystore.hsm import Token

SEQUENCES: Final = 30
STEPS: Final = 10
KEEPERS: Final = {"administrators": ["user/key-admin", "user/other-key-admin"], "users": ["role/ci"]}
MESSAGE: Final = {"message": "AAAA"}


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("separation")) as running:
        for name in PEOPLE.keys() - running.tokens.keys():
            made = running.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": PEOPLE[name].value})
            enrolled = running.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})
            running.tokens[name] = enrolled["token"]
        yield running


@dataclass
class Walk:
    """One sequence: a key of its own, and people whose policies it changes."""

    service: ServiceInProcess
    random: Random
    alone: str | None
    key: str = ""
    arn: str = ""
    administered: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def begin(self) -> None:
        made = self.service.made(
            "user/key-admin", "POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "general", "policy": KEEPERS}
        )
        self.key, self.arn = made["id"], made["arn"]

    def end(self) -> None:
        """Leaves nothing behind that a later sequence would be held against."""
        keystore = self.service.services.keystore
        change = Change("user/admin", datetime.now(UTC))
        for name in PEOPLE:
            for policy in keystore.list_identity_policies(name):
                keystore.delete_identity_policy(name, policy.name, change)
        nobody = {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"},
        }
        keystore.set_policy(self.key, json.dumps(nobody), change)
        for name, duty in PEOPLE.items():
            for grant in keystore.list_grants_of(name):
                keystore.end_grant(grant.key_id, grant.id, GrantState.REVOKED, change)
            if name != "user/admin":
                self.service.made("user/admin", "PUT", f"/v1/principals/{name}/duty", {"duty": duty.value})

    def step(self) -> tuple[str, int]:
        """One change, asked for over HTTP: its kind, and the answer's status."""
        actor = self.alone or self.random.choice(list(PEOPLE))
        other = self.random.choice([name for name in PEOPLE if name != "user/admin"])  # who puts all right at the end
        kind = self.random.choice(self._kinds(actor))
        policies = f"/v1/principals/{other}/policies"
        if kind == "key policy":
            answer = self._ask(actor, "PUT", f"/v1/keys/{self.key}/policy", self._new_policy(actor))
        elif kind == "grant":
            answer = self._ask(actor, "POST", f"/v1/keys/{self.key}/grants", self._new_grant())
        elif kind == "revocation":
            grants = self.service.services.keystore.list_grants(self.key)
            grant = self.random.choice(grants).id if grants else "00000000-0000-4000-8000-000000000000"
            answer = self._ask(actor, "DELETE", f"/v1/keys/{self.key}/grants/{grant}")
        elif kind == "identity policy":
            body = {"policy": random_identity_policy(self.random, (self.arn,))}
            answer = self._ask(actor, "PUT", f"{policies}/policy-{self.random.randrange(2)}", body)
        elif kind == "removal":
            attached = self.service.services.keystore.list_identity_policies(other)
            answer = self._ask(actor, "DELETE", f"{policies}/{attached[0].name if attached else 'none'}")
        else:
            duty = self.random.choice(("administrator", "key-administrator", "key-user", "auditor"))
            answer = self._ask(actor, "PUT", f"/v1/principals/{other}/duty", {"duty": duty})
        return kind, answer

    def _ask(self, actor: str, method: str, path: str, body: object = None) -> int:
        return self.service.call(actor, method, path, body).status_code

    def _kinds(self, actor: str) -> list[str]:
        keys = ["key policy", "key policy", "grant", "grant", "grant", "revocation"]
        people = [*(["identity policy"] * 6), *(["removal"] * 3), "duty"]  # a change of duty seldom leaves a user
        record = self.service.services.keystore.find_principal(actor)
        duty = None if record is None else Duty(record.duty)
        if duty is Duty.KEY_ADMINISTRATOR and self.random.random() < 0.9:
            return keys
        return people if duty is Duty.ADMINISTRATOR and self.random.random() < 0.9 else keys + people

    def _new_policy(self, actor: str) -> dict[str, Any]:
        """Any; or the short form; or one from which a grant or an identity policy more would give both."""
        keepers = self.random.sample(["user/key-admin", "user/other-key-admin"], self.random.choice((1, 2)))
        users = self.random.sample(["role/ci", "role/deploy"], 1)
        drawn = self.random.random()
        if drawn < 0.2:
            return {"administrators": keepers, "users": users}
        if drawn < 0.4:
            policy = json.dumps(random_key_policy(self.random, actor))
            return dict(json.loads(policy.replace("role/who-comes-later", "role/deploy")))
        keeping: dict[str, Any] = {"Principal": arns_of(keepers), "Action": ["kms:*KeyPolicy", "kms:*Grant"]}
        halves: list[dict[str, Any]] = [
            {"Principal": arns_of(users), "Action": ["kms:Describe*", "kms:Enable*"]},
            {"Principal": ROOT, "Action": self.random.choice(("kms:*", "kms:Sign*", "kms:*able*"))},
        ]
        chosen = [keeping, *self.random.sample(halves, self.random.choice((1, 2)))]
        return document(*({"Effect": "Allow", "Resource": "*", **statement} for statement in chosen))

    def _new_grant(self) -> dict[str, Any]:
        drawn = random_grant(self.random)
        grantee = self.random.choice(("role/ci", "role/deploy", drawn["GranteePrincipal"]))
        operations = [operation for operation in drawn["Operations"] if operation in ("Sign", "Verify", "DescribeKey")]
        if "Constraints" in drawn:
            constraints = {"context_equals": drawn["Constraints"]["EncryptionContextEquals"]}
            return {"grantee": grantee, "operations": ["Sign"], "constraints": constraints}
        return {"grantee": grantee, "operations": operations or ["Sign"]}

    def judged(self) -> list[str]:
        """Who could do both, by the documents that are stored."""
        keystore = self.service.services.keystore
        policy = json.loads(keystore.get_key(self.key).policy.document)
        policy["Statement"] = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
        identities = {
            name: {policy.name: json.loads(policy.document) for policy in keystore.list_identity_policies(name)}
            for name in PEOPLE
        }
        grants = [
            {"GrantId": grant.id, "GranteePrincipal": grant.grantee, "Operations": list(grant.operations)}
            for grant in keystore.list_grants(self.key)
        ]
        return everybody_who_does_both(self.arn, policy, identities, grants, PEOPLE)

    def tried(self) -> None:
        """Everybody tries to use the key, and to change its policy (at a revision that it has not)."""
        for name in [self.alone] if self.alone else PEOPLE:
            if not self.alone:
                self.administered.discard(name)
                self.used.discard(name)
            if self._ask(name, "POST", f"/v1/keys/{self.key}/signatures", MESSAGE) == 200:
                self.used.add(name)
            if self._ask(name, "PUT", f"/v1/keys/{self.key}/policy", KEEPERS | {"revision": 999_999}) == 409:
                self.administered.add(name)


def test_nobody_administers_and_uses_one_key_whatever_is_changed(service: ServiceInProcess) -> None:
    random = seeded(SEED)
    made: Counter[str] = Counter()
    refused: Counter[int] = Counter()
    did: Counter[str] = Counter()
    for number in range(SEQUENCES):
        walk = Walk(service, random, random.choice(list(PEOPLE)) if number % 2 else None)
        walk.begin()
        walk.tried()
        for _ in range(STEPS):
            kind, status = walk.step()
            if status >= 300:
                refused[status] += 1
                continue
            made[kind] += 1
            assert walk.judged() == [], walk
            walk.tried()
            assert not walk.administered & walk.used, walk  # now, and of one who acts alone at any time
        did += Counter({"administered": len(walk.administered), "used": len(walk.used)})
        walk.end()
    assert set(made) == {"key policy", "grant", "revocation", "identity policy", "removal", "duty"}, made
    assert refused[403] > SEQUENCES / 2, refused
    assert refused[409] + refused[422] > SEQUENCES / 4, refused
    assert min(did["administered"], did["used"]) > SEQUENCES / 4, did


def test_only_by_enrolling_in_others_names_does_one_reach_both_and_the_trail_shows_it(
    service: ServiceInProcess,
) -> None:
    """The known exception: whoever makes identities can take the codes of two of them. Each still does its own part
    alone; and the trail has who made them, and where each was enrolled."""
    trail = []
    for name, duty in (("user/puppet", "key-administrator"), ("role/puppet", "key-user")):
        made = service.call("user/admin", "POST", "/v1/principals", {"name": name, "duty": duty})
        enrolled = service.call(None, "POST", "/v1/enrolments", {"code": made.get_json()["enrolment_code"]})
        service.tokens[name] = enrolled.get_json()["token"]
        trail += [(name, made.headers["X-Request-Id"], enrolled.headers["X-Request-Id"])]
    body = {"spec": "ECC_NIST_P256", "purpose": "general", "users": ["role/puppet"]}
    key = service.made("user/puppet", "POST", "/v1/keys", body)["id"]
    assert service.call("role/puppet", "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code == 200
    assert service.call("user/puppet", "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code == 403
    assert service.call("role/puppet", "PUT", f"/v1/keys/{key}/policy", KEEPERS).status_code == 403
    for name, made_by, enrolled_by in trail:
        (creation,) = service.intents(made_by)
        (enrolment,) = service.outcomes(enrolled_by)
        assert (creation["principal"], creation["action"]) == ("user/admin", "CreatePrincipal")
        assert (enrolment["principal"], enrolment["action"], enrolment["outcome"]) == (name, "Enrol", "succeeded")
        assert creation["source"] == enrolment["source"] is not None


def test_nobody_is_refused_for_what_keeps_somebody_else_apart(service: ServiceInProcess) -> None:
    """One whom a Deny of their own keeps apart stands in no other's way."""
    key = service.made(
        "user/key-admin", "POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "general", "policy": KEEPERS}
    )["id"]
    apart = {"Effect": "Deny", "Action": "kms:ScheduleKeyDeletion", "Resource": "*"}
    service.made("user/admin", "PUT", "/v1/principals/role/other/policies/apart", {"policy": document(apart)})
    keeper = {"Effect": "Allow", "Principal": arns_of(["user/key-admin"]), "Action": ["kms:*Policy", "kms:*Grant"]}
    wide = {"Effect": "Allow", "Principal": arns_of(["role/other"]), "Action": "kms:S*"}
    left = {"Effect": "Allow", "Principal": ROOT, "Action": "kms:Sign"}
    policy = document(*({**statement, "Resource": "*"} for statement in (keeper, wide, left)))
    service.made("user/key-admin", "PUT", f"/v1/keys/{key}/policy", policy)
    service.made("user/key-admin", "POST", f"/v1/keys/{key}/grants", {"grantee": "role/ci", "operations": ["Sign"]})
    allowed = document({"Effect": "Allow", "Action": "kms:Sign", "Resource": "*"})
    service.made("user/admin", "PUT", "/v1/principals/role/ci/policies/sign", {"policy": allowed})
    refused = service.call("user/admin", "DELETE", "/v1/principals/role/other/policies/apart")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "separation_of_duties")
    assert "role/other could administer the key (kms:ScheduleKeyDeletion" in refused.get_json()["detail"]


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
