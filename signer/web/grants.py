"""`/v1/keys/{key}/grants`: the use of a key that is given to one principal, beside the key's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from flask import request

from keystore.access import GrantState
from signer.access import Action
from signer.administration.grants import described, recorded
from signer.call import Answer, Call
from signer.errors import MalformedRequest
from signer.pipeline import present
from signer.request import Empty, NewGrant, PrincipalName
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import Key
    from signer.access import Permit
    from signer.access.model import GrantFacts
    from signer.authn.principal import Principal
    from signer.services import Services

_FILTERS: Final = {
    "grantee": "those of this principal alone",
    "state": "`active` (if absent), or `all`: those that have ended too",
}


def create(services: Services, call: Call, key: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: NewGrant) -> Answer:
        made = services.grants.create(permit, present(found), body)
        return Answer(described(made), 201, recorded(made))

    return services.pipeline.change(
        call, Action.CREATE_GRANT, NewGrant, work, key, services.grants.circumstances, subject=lambda body: body.grantee
    )


def list_all(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None) -> Answer:
        page = requested_page(*_FILTERS)
        grants = services.keystore.list_grants(
            present(found).id, page.after, page.limit + 1, grantee=_wanted_grantee(), state=_wanted_state()
        )
        shown = grants[: page.limit]
        last = shown[-1].id if len(grants) > page.limit else None
        return Answer({"grants": [described(grant) for grant in shown], "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_GRANTS, work, key)


def retire(services: Services, call: Call, key: str, grant: str) -> Answer:
    def work(permit: Permit, found: Key | None, _body: Empty) -> Answer:
        ended = services.grants.end(permit, present(found), grant, GrantState.RETIRED)
        return Answer(described(ended), recorded=recorded(ended))

    def itself(found: Key, caller: Principal) -> Sequence[GrantFacts]:
        return services.grants.retirable(found, grant, caller.name)

    return services.pipeline.change(call, Action.RETIRE_GRANT, Empty, work, key, grants=itself)


def revoke(services: Services, call: Call, key: str, grant: str) -> Answer:
    def work(permit: Permit, found: Key | None, _body: Empty) -> Answer:
        ended = services.grants.end(permit, present(found), grant, GrantState.REVOKED)
        return Answer(described(ended), recorded=recorded(ended))

    return services.pipeline.change(call, Action.REVOKE_GRANT, Empty, work, key)


def _wanted_grantee() -> str | None:
    grantee = request.args.get("grantee")
    try:
        return None if grantee is None else msgspec.convert(grantee, PrincipalName)
    except msgspec.ValidationError as error:
        msg = "grantee is user/NAME or role/NAME, such as role/ci"
        raise MalformedRequest(msg, field="grantee") from error


def _wanted_state() -> GrantState | None:
    state = request.args.get("state", "active")
    if state not in ("active", "all"):
        msg = "state is `active` or `all`"
        raise MalformedRequest(msg, field="state")
    return GrantState.ACTIVE if state == "active" else None


ENDPOINTS: Final = (
    Endpoint(
        "POST", "/v1/keys/<key>/grants", "Grant use of a key", create, Action.CREATE_GRANT, NewGrant, 201, tag="access"
    ),
    Endpoint(
        "GET",
        "/v1/keys/<key>/grants",
        "List the grants on a key",
        list_all,
        Action.LIST_GRANTS,
        query=QUERY | _FILTERS,
        tag="access",
    ),
    Endpoint(
        "POST",
        "/v1/keys/<key>/grants/<grant>/retire",
        "Give a grant back that has served",
        retire,
        Action.RETIRE_GRANT,
        Empty,
        tag="access",
    ),
    Endpoint(
        "DELETE",
        "/v1/keys/<key>/grants/<grant>",
        "Take a grant away",
        revoke,
        Action.REVOKE_GRANT,
        Empty,
        tag="access",
    ),
)
