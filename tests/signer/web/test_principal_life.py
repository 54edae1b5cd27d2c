"""A principal's life: disabled and enabled, given another duty; never one's own, never break glass, never the last."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from keystore.api import PrincipalRecord
from tests.signer.web.refusal import assert_refused
from tests.signer.web.test_people import DUTIES, enrolled, make, new_name

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess


def change(service: ServiceInProcess, who: str, name: str, what: str) -> int:
    if what in DUTIES:
        return service.call(who, "PUT", f"/v1/principals/{name}/duty", {"duty": what}).status_code
    if what == "delete":
        return service.call(who, "DELETE", f"/v1/principals/{name}").status_code
    return service.call(who, "POST", f"/v1/principals/{name}/{what}").status_code


def whoami(service: ServiceInProcess, token: str) -> int:
    return service.call(token, "GET", "/v1/whoami").status_code


def test_disabling_stops_every_credential_at_once_and_enabling_lets_them_work_again(service: ServiceInProcess) -> None:
    name = new_name()
    first = enrolled(service, name)
    second = service.made(first, "POST", f"/v1/principals/{name}/tokens", {"label": "laptop"})["token"]
    answer = service.call("user/admin", "POST", f"/v1/principals/{name}/disable")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "disabled")
    for token in (first, second):
        assert_refused(service.call(token, "GET", "/v1/whoami"), 401, "unauthenticated")
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["action"], outcome["subject"]) == ("UpdatePrincipal", name)
    assert json.loads(outcome["detail"]) == {"duty": "key-user", "state": "disabled"}
    assert_refused(service.call("user/admin", "POST", f"/v1/principals/{name}/disable"), 409, "wrong_state")
    assert service.made("user/admin", "POST", f"/v1/principals/{name}/enable")["state"] == "enabled"
    assert [whoami(service, token) for token in (first, second)] == [200, 200]
    assert_refused(service.call("user/admin", "POST", f"/v1/principals/{name}/enable"), 409, "wrong_state")


def test_a_disabled_principal_signs_nothing(service: ServiceInProcess) -> None:
    name = new_name()
    token = enrolled(service, name)
    key = service.make_key(new_name().replace("/", "-"), purpose="general", users=[name])["id"]
    path, body = f"/v1/keys/{key}/signatures", {"message": "AAAA"}
    assert service.call(token, "POST", path, body).status_code == 200
    service.made("user/admin", "POST", f"/v1/principals/{name}/disable")
    assert service.call(token, "POST", path, body).status_code == 401


@pytest.mark.parametrize("what", ["disable", "enable", "delete", *DUTIES])
def test_nobody_changes_their_own(service: ServiceInProcess, what: str) -> None:
    assert change(service, "user/admin", "user/admin", what) == 409
    assert service.made("user/admin", "GET", "/v1/principals/user/admin")["state"] == "enabled"


@pytest.mark.parametrize("what", ["disable", "enable", "delete", *DUTIES])
def test_who_is_not_there_cannot_be_changed(service: ServiceInProcess, what: str) -> None:
    assert change(service, "user/admin", "role/nobody", what) == 404
    gone = new_name()
    make(service, gone)
    service.made("user/admin", "DELETE", f"/v1/principals/{gone}")
    assert change(service, "user/admin", gone, what) == 404


@pytest.mark.parametrize("duty", ["auditor", "key-administrator", "administrator"])
def test_a_duty_is_another_from_the_next_call_on(service: ServiceInProcess, duty: str) -> None:
    name = new_name()
    token = enrolled(service, name)
    changed = service.made("user/admin", "PUT", f"/v1/principals/{name}/duty", {"duty": duty})
    assert (changed["name"], changed["duty"]) == (name, duty)
    assert service.made(token, "GET", "/v1/whoami")["duty"] == duty
    assert service.call(token, "GET", "/v1/principals").status_code == (200 if duty == "administrator" else 403)


@pytest.mark.parametrize("duty", ["root", "", "Auditor", None])
def test_a_duty_that_is_none(service: ServiceInProcess, duty: str | None) -> None:
    answer = service.call("user/admin", "PUT", "/v1/principals/role/other/duty", {"duty": duty})
    assert_refused(answer, 422, "malformed_request", "duty")


def test_a_duty_stays_while_a_keys_policy_names_its_holder(service: ServiceInProcess) -> None:
    user, keeper = new_name(), new_name("user")
    make(service, user)
    make(service, keeper, "key-administrator")
    aliases = [new_name().replace("/", "-") for _ in range(2)]
    for alias in aliases:
        service.make_key(alias, users=[user], administrators=[keeper])
    for name in (user, keeper):
        answer = service.call("user/admin", "PUT", f"/v1/principals/{name}/duty", {"duty": "auditor"})
        detail = assert_refused(answer, 409, "wrong_state")
        assert all(alias in detail for alias in aliases)
        own = service.made("user/admin", "GET", f"/v1/principals/{name}")["duty"]
        assert service.made("user/admin", "PUT", f"/v1/principals/{name}/duty", {"duty": own})["duty"] == own
    for alias in aliases:
        policy = {"administrators": ["user/key-admin"], "users": []}
        service.made("user/key-admin", "PUT", f"/v1/keys/{alias}/policy", policy)
    for name in (user, keeper):
        service.made("user/admin", "PUT", f"/v1/principals/{name}/duty", {"duty": "auditor"})


def test_a_name_within_another_name_is_not_that_name(service: ServiceInProcess) -> None:
    name = new_name()
    make(service, name)
    make(service, f"{name}-2")
    service.make_key(new_name().replace("/", "-"), users=[f"{name}-2"])
    service.made("user/admin", "PUT", f"/v1/principals/{name}/duty", {"duty": "auditor"})


@pytest.mark.parametrize("what", ["disable", "enable", "delete", *DUTIES])
def test_break_glass_is_beyond_every_administrator(own_service: ServiceInProcess, what: str) -> None:
    keystore = own_service.services.keystore
    if keystore.find_principal("user/root") is None:
        keystore.create_principal(
            PrincipalRecord("user/root", "root", "disabled", keystore.clock(), "service/sealmark")
        )
    assert change(own_service, "user/admin", "user/root", what) == 409
    assert own_service.call("user/admin", "POST", "/v1/principals/user/root/enrolments", {}).status_code == 409
    assert own_service.call("user/admin", "DELETE", "/v1/principals/user/root/tokens/" + "0" * 12).status_code == 409
    root = keystore.find_principal("user/root")
    assert root is not None
    assert (root.duty, root.state) == ("root", "disabled")


@pytest.mark.parametrize("what", ["disable", "delete", "auditor"])
def test_of_two_administrators_who_end_each_other_one_is_left(own_service: ServiceInProcess, what: str) -> None:
    """At the same time, on as many threads: the check and the change are one transaction."""
    service = own_service
    for round_ in range(3):
        names = [new_name("user") for _ in range(2)]
        tokens = [enrolled(service, name, "administrator") for name in names]
        if whoami(service, "user/admin") == 200:
            assert change(service, tokens[0], "user/admin", "disable") == 200
        start = threading.Barrier(2)
        statuses: list[int] = []

        def end(mine: str, other: str, start: threading.Barrier = start, into: list[int] = statuses) -> None:
            start.wait()
            into.append(change(service, mine, other, what))

        threads = [
            threading.Thread(target=end, args=(tokens[0], names[1])),
            threading.Thread(target=end, args=(tokens[1], names[0])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # The other one came too late: refused as the last, or already nobody's (or no administrator's) credential.
        assert sorted(statuses)[0] == 200, (round_, statuses)
        assert sorted(statuses)[1] in (401, 403, 409), (round_, statuses)
        keystore = service.services.keystore
        assert keystore.count_enabled("administrator", without="") == 1
        left = next(token for token in tokens if service.call(token, "GET", "/v1/principals").status_code == 200)
        assert change(service, left, "user/admin", "enable") == 200
        mine = service.made(left, "GET", "/v1/whoami")["name"]
        assert change(service, "user/admin", mine, "delete") == 200
        for name in names:
            change(service, "user/admin", name, "delete")


def test_break_glass_does_not_count_as_an_administrator(own_service: ServiceInProcess) -> None:
    """The rule holds for whoever calls, root too; here the caller is another duty's, by the part itself."""
    from signer.administration.principal_rules import require_another_administrator
    from signer.errors import WrongState

    keystore = own_service.services.keystore
    admin = keystore.find_principal("user/admin")
    assert admin is not None
    with pytest.raises(WrongState, match="last enabled administrator"):
        require_another_administrator(keystore, admin)
