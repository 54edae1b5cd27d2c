"""Policies that are attached to identities: in force at once, never one's own, nothing that lets somebody do both."""

from __future__ import annotations

import json
import threading
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.api import PrincipalRecord
from signer.access import Duty
from signer.access.duties import actions_of_duty
from signer.administration.identity_policies import LONGEST
from tests.signer.service import ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token

MESSAGE: Final = {"message": "AAAA"}
ACCOUNT: Final = "000000000000"
KEEPER: Final = f"arn:aws:iam::{ACCOUNT}:user/key-admin"


def document(*statements: dict[str, object]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(*actions: str, **members: object) -> dict[str, object]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*", **members}


def deny(*actions: str, **members: object) -> dict[str, object]:
    return {"Effect": "Deny", "Action": list(actions), "Resource": "*", **members}


DELEGATING: Final = document(
    {"Effect": "Allow", "Principal": {"AWS": KEEPER}, "Action": ["kms:*Policy", "kms:DescribeKey"], "Resource": "*"},
    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"},
)

KEEPER_ALONE: Final = {"administrators": ["user/key-admin"], "users": []}


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    """A service of its own: a policy is checked against every key that there is."""
    with running_service(token, tmp_path_factory.mktemp("identity-policies")) as running:
        yield running


@pytest.fixture
def someone(service: ServiceInProcess) -> str:
    """A fresh principal with the duty key-user, whose token the service knows by its name."""
    return enrolled(service, "key-user")


def enrolled(service: ServiceInProcess, duty: str) -> str:
    name = f"role/x{uuid.uuid4().hex[:12]}"
    made = service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": duty})
    service.tokens[name] = service.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})["token"]
    return name


@pytest.fixture
def delegated(service: ServiceInProcess) -> Iterator[str]:
    """A key that leaves it to the account who uses it; gone again afterwards, since every policy is held against it."""
    made = service.make_key(f"d{uuid.uuid4().hex[:12]}", purpose="general", users=None, policy=DELEGATING)["id"]
    yield made
    service.made("user/key-admin", "PUT", f"/v1/keys/{made}/policy", KEEPER_ALONE)


def put(service: ServiceInProcess, who: str, name: str, policy: object, **members: object) -> Any:
    return service.call("user/admin", "PUT", f"/v1/principals/{who}/policies/{name}", {"policy": policy, **members})


def sign(service: ServiceInProcess, who: str, key: str) -> int:
    return service.call(who, "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code


def test_a_policy_allows_what_the_key_leaves_to_the_account(
    service: ServiceInProcess, someone: str, delegated: str
) -> None:
    named = service.make_key(f"n{uuid.uuid4().hex[:12]}", purpose="general", users=[])["id"]
    assert sign(service, someone, delegated) == 404
    made = put(service, someone, "signing", document(allow("kms:Sign")), reason="the nightly build")
    assert made.status_code == 200
    shown = made.get_json()
    assert (shown["name"], shown["revision"], shown["changed_by"]) == ("signing", 1, "user/admin")
    assert (shown["policy"], shown["reason"]) == (document(allow("kms:Sign")), "the nightly build")
    assert sign(service, someone, delegated) == 200
    assert sign(service, someone, named) == 404  # this key's policy does not leave it to the account
    service.made("user/admin", "DELETE", f"/v1/principals/{someone}/policies/signing")
    assert sign(service, someone, delegated) == 404


def test_a_policy_that_denies_is_in_force_with_the_next_request(service: ServiceInProcess, someone: str) -> None:
    key = service.make_key(f"n{uuid.uuid4().hex[:12]}", purpose="general", users=[someone])["id"]
    assert sign(service, someone, key) == 200
    assert put(service, someone, "stop", document(deny("kms:*"))).status_code == 200
    assert sign(service, someone, key) in (403, 404)
    assert put(service, someone, "stop", document(deny("kms:*", Condition=NEVER))).status_code == 200
    assert sign(service, someone, key) == 200
    assert put(service, someone, "stop", document(deny("kms:*"))).status_code == 200
    service.made("user/admin", "DELETE", f"/v1/principals/{someone}/policies/stop")
    assert sign(service, someone, key) == 200


NEVER: Final = {"Bool": {"aws:SecureTransport": "true"}}


def test_a_policy_may_deny_what_is_about_no_key(service: ServiceInProcess) -> None:
    clerk = enrolled(service, "administrator")
    body = {"name": f"role/x{uuid.uuid4().hex[:12]}", "duty": "auditor"}
    assert put(service, clerk, "no-new", document(deny("sealmark:CreatePrincipal"))).status_code == 200
    assert service.call(clerk, "POST", "/v1/principals", body).status_code == 403
    assert service.call(clerk, "GET", "/v1/principals").status_code == 200
    assert put(service, clerk, "no-new", document(deny("sealmark:CreateIssuer"))).status_code == 200
    assert service.call(clerk, "POST", "/v1/principals", body).status_code == 201


def test_nothing_allows_beyond_the_duty(service: ServiceInProcess, someone: str, delegated: str) -> None:
    assert put(service, someone, "all", document(allow("kms:Sign", "kms:DescribeKey"))).status_code == 200
    answer = service.call(someone, "POST", f"/v1/keys/{delegated}/disable")
    assert_refused(answer, 403, "duty_forbids")


def test_nobody_changes_their_own(service: ServiceInProcess) -> None:
    for method, body in (("PUT", {"policy": document(deny("kms:*"))}), ("DELETE", None)):
        answer = service.call("user/admin", method, "/v1/principals/user/admin/policies/mine", body)
        assert_refused(answer, 409, "wrong_state")
    assert service.made("user/admin", "GET", "/v1/principals/user/admin/policies")["policies"] == []


def test_none_is_attached_to_break_glass(service: ServiceInProcess) -> None:
    keystore = service.services.keystore
    keystore.create_principal(PrincipalRecord("user/root", "root", "disabled", keystore.clock(), "test"))
    assert_refused(put(service, "user/root", "x", document(deny("kms:*"))), 409, "wrong_state")


def test_what_is_attached_is_listed_beside_what_the_duty_has(service: ServiceInProcess, someone: str) -> None:
    path = f"/v1/principals/{someone}/policies"
    for name in ("b", "a"):
        assert put(service, someone, name, document(deny("kms:Sign"))).status_code == 200
    shown = service.made("user/admin", "GET", path)
    assert [policy["name"] for policy in shown["policies"]] == ["a", "b"]
    assert shown["duty"] == {"name": "key-user", "actions": sorted(actions_of_duty(Duty.KEY_USER))}
    assert "kms:Sign" in shown["duty"]["actions"]
    assert "kms:PutKeyPolicy" not in shown["duty"]["actions"]
    one = service.made("user/admin", "GET", f"{path}/a")
    assert one["policy"] == document(deny("kms:Sign"))
    assert_refused(service.call("user/admin", "GET", f"{path}/c"), 404, "not_found", "policy")
    assert_refused(service.call("user/admin", "DELETE", f"{path}/c"), 404, "not_found", "policy")
    for method in ("GET", "PUT"):
        body = {"policy": document()} if method == "PUT" else None
        answer = service.call("user/admin", method, "/v1/principals/role/nobody/policies/a", body)
        assert_refused(answer, 404, "not_found", "name")


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({}, "policy"),
        ({"Version": "2012-10-17", "Statement": []}, "policy/Statement"),
        ({"Version": "2012-10-18", "Statement": [allow("kms:Sign")]}, "policy/Version"),
        (document({**allow("kms:Sign"), "Principal": "*"}), "policy/Statement/0/Principal"),
        (document(allow("kms:Sign"), allow("kms:Sing")), "policy/Statement/1/Action/0"),
        (document({**allow("kms:Sign"), "Resource": "arn:aws:iam::${aws:username}"}), "policy/Statement/0/Resource"),
        (document({**allow("kms:Sign"), "Condition": {"StringEquls": {"a": "b"}}}), "policy/Statement/0/Condition"),
        (document({**allow("kms:Sign"), "Effect": "allow"}), "policy/Statement/0/Effect"),
    ],
)
def test_a_document_is_checked_to_its_last_element(
    service: ServiceInProcess, someone: str, policy: object, field: str
) -> None:
    answer = put(service, someone, "wrong", policy)
    assert answer.status_code == 422
    assert answer.get_json()["field"].startswith(field)
    assert service.made("user/admin", "GET", f"/v1/principals/{someone}/policies")["policies"] == []


def test_a_policy_that_is_too_long_or_one_too_many_is_refused(service: ServiceInProcess, someone: str) -> None:
    values = ["y" * 1000] * (LONGEST // 1000)
    statement = deny("kms:Sign", Condition={"StringEquals": {"sealmark:SigningContext:x": values}})
    detail = assert_refused(put(service, someone, "long", document(statement)), 422, "unprocessable", "policy")
    assert str(LONGEST) in detail
    for number in range(10):
        assert put(service, someone, f"p{number}", document(deny("kms:Sign"))).status_code == 200
    assert_refused(put(service, someone, "p10", document(deny("kms:Sign"))), 409, "limit_exceeded")
    assert put(service, someone, "p9", document(deny("kms:Sign"))).status_code == 200


@pytest.mark.parametrize("name", ["a.b", "-a", "a b", "ä", "a" * 129, "a%0a"])
def test_a_policys_name_is_plain(service: ServiceInProcess, someone: str, name: str) -> None:
    assert_refused(put(service, someone, name, document(deny("kms:Sign"))), 422, "unprocessable", "policy")


def test_a_policy_that_lets_one_do_both_is_refused(service: ServiceInProcess, someone: str, delegated: str) -> None:
    assert put(service, someone, "use", document(allow("kms:Sign"))).status_code == 200
    answer = put(service, someone, "more", document(allow("kms:DescribeKey"), allow("kms:PutKeyPolicy")))
    detail = assert_refused(answer, 409, "separation_of_duties", "policy")
    assert someone in detail
    assert "the identity policy more" in detail
    assert "the identity policy use" in detail
    # Conditions may come true; a Deny without one keeps the two apart.
    conditional = document(allow("kms:PutKeyPolicy", Condition=NEVER))
    assert put(service, someone, "more", conditional).status_code == 409
    assert put(service, someone, "never", document(deny("kms:PutKeyPolicy"))).status_code == 200
    assert put(service, someone, "more", conditional).status_code == 200
    # And is not taken away then.
    gone = service.call("user/admin", "DELETE", f"/v1/principals/{someone}/policies/never")
    assert_refused(gone, 409, "separation_of_duties", "policy")
    assert put(service, someone, "never", document(deny("kms:PutKeyPolicy", Condition=NEVER))).status_code == 409
    assert service.made("user/admin", "DELETE", f"/v1/principals/{someone}/policies/more")
    assert service.made("user/admin", "DELETE", f"/v1/principals/{someone}/policies/never")


def test_a_policy_beside_a_grant_lets_nobody_do_both(service: ServiceInProcess, someone: str, delegated: str) -> None:
    body = {"grantee": someone, "operations": ["Sign"]}
    service.made("user/key-admin", "PUT", f"/v1/keys/{delegated}/policy", KEEPER_MAY_GRANT)
    service.made("user/key-admin", "POST", f"/v1/keys/{delegated}/grants", body)
    answer = put(service, someone, "more", document(allow("kms:DisableKey")))
    assert "the grant" in assert_refused(answer, 409, "separation_of_duties", "policy")


KEEPER_MAY_GRANT: Final = document(
    {
        "Effect": "Allow",
        "Principal": {"AWS": KEEPER},
        "Action": ["kms:*Policy", "kms:DescribeKey", "kms:CreateGrant"],
        "Resource": "*",
    },
    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"},
)


def test_a_key_that_would_join_what_policies_have_apart_is_refused(service: ServiceInProcess, someone: str) -> None:
    """AWS's default key policy is no overlap; with such an identity policy about it is one."""
    assert put(service, someone, "both", document(allow("kms:Sign", "kms:PutKeyPolicy"))).status_code == 200
    body = {"alias": f"k{uuid.uuid4().hex[:12]}", "spec": "ECC_NIST_P256", "purpose": "general", "policy": DELEGATING}
    answer = service.call("user/key-admin", "POST", "/v1/keys", body)
    detail = assert_refused(answer, 409, "separation_of_duties", "policy")
    assert someone in detail
    service.made("user/admin", "DELETE", f"/v1/principals/{someone}/policies/both")
    made = service.made("user/key-admin", "POST", "/v1/keys", body)
    assert_refused(
        put(service, someone, "both", document(allow("kms:Sign", "kms:PutKeyPolicy"))),
        409,
        "separation_of_duties",
        "policy",
    )
    service.made("user/key-admin", "PUT", f"/v1/keys/{made['id']}/policy", KEEPER_ALONE)


def test_every_change_is_kept(service: ServiceInProcess, someone: str) -> None:
    path = f"/v1/principals/{someone}/policy-versions"
    first, second = document(deny("kms:Sign")), document(deny("kms:*"))
    put(service, someone, "a", first, reason="one")
    put(service, someone, "b", second, reason="two")
    put(service, someone, "a", second)
    service.made("user/admin", "DELETE", f"/v1/principals/{someone}/policies/b", {"reason": "no more"})
    history = service.made("user/admin", "GET", path)["versions"]
    assert [(entry["revision"], entry["name"], entry["reason"], entry["policy"]) for entry in history] == [
        (1, "a", "one", first),
        (2, "b", "two", second),
        (3, "a", "", second),
        (4, "b", "no more", None),
    ]
    assert {entry["created_by"] for entry in history} == {"user/admin"}
    page = service.made("user/admin", "GET", f"{path}?limit=3")
    rest = service.made("user/admin", "GET", f"{path}?limit=3&cursor={page['next_cursor']}")
    assert (page["versions"] + rest["versions"], rest["next_cursor"]) == (history, None)
    service.made("user/admin", "DELETE", f"/v1/principals/{someone}")
    assert service.made("user/admin", "GET", path)["versions"] == history
    assert_refused(service.call("user/admin", "GET", f"/v1/principals/{someone}/policies"), 404, "not_found", "name")
    absent = service.call("user/admin", "GET", "/v1/principals/role/nobody/policy-versions")
    assert_refused(absent, 404, "not_found", "name")
    strange = service.call("user/admin", "GET", f"{path}?cursor=YQ==")
    assert_refused(strange, 422, "malformed_request", "cursor")


ROUNDS: Final = 12


def test_two_administrators_at_once_never_join_what_each_alone_may_do(
    service: ServiceInProcess, delegated: str
) -> None:
    """One attaches the use, the other the administration, at the same time: one of the two is refused, each time."""
    for _ in range(ROUNDS):
        someone = enrolled(service, "key-user")
        statuses = at_once(
            partial(attach, service, someone, "use", document(allow("kms:Sign"))),
            partial(attach, service, someone, "keep", document(allow("kms:DisableKey"))),
        )
        assert sorted(statuses) == [200, 409]
        attached = service.made("user/admin", "GET", f"/v1/principals/{someone}/policies")["policies"]
        assert len(attached) == 1
        service.made("user/admin", "DELETE", f"/v1/principals/{someone}")


def test_a_key_policy_and_an_identity_policy_at_once_never_join_either(service: ServiceInProcess) -> None:
    """The key begins to leave it to the account while somebody is given both for such keys."""
    key = service.make_key(f"c{uuid.uuid4().hex[:12]}", purpose="general", users=[])["id"]
    both = document(allow("kms:Sign", "kms:DisableKey"))
    for _ in range(ROUNDS):
        someone = enrolled(service, "key-user")
        statuses = at_once(
            partial(attach, service, someone, "both", both),
            lambda: service.call("user/key-admin", "PUT", f"/v1/keys/{key}/policy", DELEGATING).status_code,
        )
        assert sorted(statuses) == [200, 409]
        service.made("user/key-admin", "PUT", f"/v1/keys/{key}/policy", KEEPER_ALONE)
        service.made("user/admin", "DELETE", f"/v1/principals/{someone}")


def attach(service: ServiceInProcess, who: str, name: str, policy: object) -> int:
    return int(put(service, who, name, policy).status_code)


def at_once(*calls: Callable[[], int]) -> list[int]:
    ready = threading.Barrier(len(calls), timeout=5)
    found: list[int] = []

    def run(call: Callable[[], int]) -> None:
        ready.wait()
        found.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_policy_stands_in_the_record_of_what_it_allowed(
    service: ServiceInProcess, someone: str, delegated: str
) -> None:
    put(service, someone, "signing", document(allow("kms:Sign", Sid="Nightly")))
    answer = service.made(someone, "POST", f"/v1/keys/{delegated}/signatures", MESSAGE)
    (intent,) = service.intents(answer["results"][0]["request_id"])
    assert intent["decided_by"] == "allowed by identity policy: signing: Nightly"
    assert json.loads(service.services.keystore.get_key(delegated).policy.document) == DELEGATING
