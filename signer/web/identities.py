"""`/v1/principals`, `/v1/enrolments`, `/v1/whoami`: who may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.identities import described
from signer.call import Answer, Call
from signer.decoding import decode
from signer.errors import NotFound, Unauthenticated
from signer.request import Empty, Enrolment, NewPrincipal
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services


def who_am_i(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        return Answer({"name": permit.principal.name, "duty": permit.principal.duty.value})

    return services.pipeline.read(call, Action.WHO_AM_I, work)


def create(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewPrincipal) -> Answer:
        return Answer(services.identities.create(permit, body), 201)

    return services.pipeline.change(call, Action.CREATE_PRINCIPAL, NewPrincipal, work)


def list_all(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        found = services.identities.list_present(page.after, page.limit + 1)
        shown = found[: page.limit]
        last = shown[-1].name if len(found) > page.limit else None
        return Answer({"principals": [described(principal) for principal in shown], "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_PRINCIPALS, work)


def show(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        principal = services.keystore.find_principal(f"{kind}/{name}")
        if principal is None or principal.state == "deleted":
            msg = f"there is no principal {kind}/{name}"
            raise NotFound(msg, field="name")
        return Answer(described(principal))

    return services.pipeline.read(call, Action.LIST_PRINCIPALS, work)


def delete(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        services.identities.delete(permit, f"{kind}/{name}")
        return Answer({"name": f"{kind}/{name}", "state": "deleted"})

    return services.pipeline.change(call, Action.DELETE_PRINCIPAL, Empty, work)


def enrol(services: Services, call: Call) -> Answer:
    body = decode(call.body, Enrolment)
    try:
        # The record comes first: a code is not used up for a token that cannot be given.
        name, token = services.identities.enrol(body.code, lambda holder: services.audit.note(holder, "Enrol", call))
    except Unauthenticated as refusal:
        services.audit.count_unauthenticated(f"enrolment_{refusal.code}")
        raise
    return Answer({"name": name, "token": token}, 201)


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
        "POST", "/v1/enrolments", "Use an enrolment code up for a token", enrol, None, Enrolment, 201, tag="identities"
    ),
)
