"""`/v1/principals`, `/v1/whoami`: who may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.identities import described, require_present
from signer.call import Answer, Call
from signer.request import Empty, NewDuty, NewPrincipal
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key, PrincipalRecord
    from signer.access import Permit
    from signer.services import Services


def who_am_i(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        caller = permit.principal
        proved = {"credential": caller.credential, "kind": caller.kind, "expires_at": caller.credential_expires_at}
        return Answer({"name": caller.name, "duty": caller.duty.value, **proved})

    return services.pipeline.read(call, Action.WHO_AM_I, work)


def create(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewPrincipal) -> Answer:
        recorded = {"principal": body.name, "duty": body.duty}
        return Answer(services.identities.create(permit, body), 201, recorded)

    return services.pipeline.change(call, Action.CREATE_PRINCIPAL, NewPrincipal, work, subject=lambda body: body.name)


def list_all(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        found = services.identities.list_present(page.after, page.limit + 1)
        shown = found[: page.limit]
        last = shown[-1].name if len(found) > page.limit else None
        people = [described(principal, services.keystore.clock) for principal in shown]
        return Answer({"principals": people, "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_PRINCIPALS, work)


def show(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        principal = require_present(services.keystore, f"{kind}/{name}")
        return Answer(described(principal, services.keystore.clock))

    return services.pipeline.read(call, Action.LIST_PRINCIPALS, work, subject=f"{kind}/{name}")


def delete(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        services.identities.delete(permit, f"{kind}/{name}")
        return Answer({"name": f"{kind}/{name}", "state": "deleted"}, recorded={"state": "deleted"})

    return services.pipeline.change(call, Action.DELETE_PRINCIPAL, Empty, work, subject=f"{kind}/{name}")


def disable(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        return _changed(services, services.identities.disable(permit, f"{kind}/{name}"))

    return services.pipeline.change(call, Action.UPDATE_PRINCIPAL, Empty, work, subject=f"{kind}/{name}")


def enable(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        return _changed(services, services.identities.enable(permit, f"{kind}/{name}"))

    return services.pipeline.change(call, Action.UPDATE_PRINCIPAL, Empty, work, subject=f"{kind}/{name}")


def set_duty(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewDuty) -> Answer:
        return _changed(services, services.identities.set_duty(permit, f"{kind}/{name}", body.duty))

    return services.pipeline.change(call, Action.UPDATE_PRINCIPAL, NewDuty, work, subject=f"{kind}/{name}")


def _changed(services: Services, principal: PrincipalRecord) -> Answer:
    recorded = {"state": principal.state, "duty": principal.duty}
    return Answer(described(principal, services.keystore.clock), recorded=recorded)


_ONE: Final = "/v1/principals/<kind>/<name>"
ENDPOINTS: Final = (
    Endpoint("GET", "/v1/whoami", "Who the credential speaks for", who_am_i, Action.WHO_AM_I, tag="identities"),
    Endpoint(
        "POST",
        "/v1/principals",
        "Make an identity",
        create,
        Action.CREATE_PRINCIPAL,
        NewPrincipal,
        201,
        tag="identities",
    ),
    Endpoint(
        "GET", "/v1/principals", "List identities", list_all, Action.LIST_PRINCIPALS, query=QUERY, tag="identities"
    ),
    Endpoint("GET", "/v1/principals/<kind>/<name>", "Show an identity", show, Action.LIST_PRINCIPALS, tag="identities"),
    Endpoint(
        "DELETE",
        "/v1/principals/<kind>/<name>",
        "End an identity and its credentials",
        delete,
        Action.DELETE_PRINCIPAL,
        Empty,
        tag="identities",
    ),
    Endpoint(
        "POST",
        f"{_ONE}/disable",
        "Stop an identity and its credentials for a while",
        disable,
        Action.UPDATE_PRINCIPAL,
        Empty,
        tag="identities",
    ),
    Endpoint(
        "POST",
        f"{_ONE}/enable",
        "Let a disabled identity work again",
        enable,
        Action.UPDATE_PRINCIPAL,
        Empty,
        tag="identities",
    ),
    Endpoint(
        "PUT",
        f"{_ONE}/duty",
        "Give an identity another duty",
        set_duty,
        Action.UPDATE_PRINCIPAL,
        NewDuty,
        tag="identities",
    ),
)
