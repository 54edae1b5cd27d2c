"""`/v1/principals/{kind}/{name}/access-keys`: access keys in the manner of AWS, and temporary credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.access_keys import described_access_key
from signer.call import Answer, Call
from signer.request import Empty, NewAccessKey
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.api import AccessKeyRecord, Key
    from signer.access import Permit
    from signer.services import Services

_PATH: Final = "/v1/principals/<kind>/<name>/access-keys"


def create(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewAccessKey) -> Answer:
        made = services.access_keys.create(permit, f"{kind}/{name}", body)
        record = made.record
        shown = {"access_key_id": record.id, "label": record.label, "expires_at": record.expires_at}
        secret = {"secret_access_key": made.secret, "session_token": made.session_token}
        recorded = {"credential": f"access-key:{record.id}", "temporary": record.is_temporary}
        return Answer({**shown, **secret}, 201, {**recorded, "label": record.label, "expires_at": record.expires_at})

    return services.pipeline.change(call, Action.CREATE_CREDENTIAL, NewAccessKey, work, subject=f"{kind}/{name}")


def list_all(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        found = services.access_keys.page(permit, f"{kind}/{name}", page.after, page.limit + 1)
        moment, shown = services.keystore.clock(), found[: page.limit]
        last = shown[-1].id if len(found) > page.limit else None
        stands = services.access_keys.stands
        keys = [described_access_key(record, moment, stands=stands(record, moment)) for record in shown]
        return Answer({"access_keys": keys, "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_CREDENTIALS, work, subject=f"{kind}/{name}")


def disable(services: Services, call: Call, kind: str, name: str, access_key: str) -> Answer:
    return _changed(
        services, call, Action.UPDATE_CREDENTIAL, services.access_keys.disable, f"{kind}/{name}", access_key
    )


def enable(services: Services, call: Call, kind: str, name: str, access_key: str) -> Answer:
    return _changed(services, call, Action.UPDATE_CREDENTIAL, services.access_keys.enable, f"{kind}/{name}", access_key)


def revoke(services: Services, call: Call, kind: str, name: str, access_key: str) -> Answer:
    return _changed(services, call, Action.REVOKE_CREDENTIAL, services.access_keys.revoke, f"{kind}/{name}", access_key)


def _changed(
    services: Services,
    call: Call,
    action: Action,
    change: Callable[[Permit, str, str], AccessKeyRecord],
    principal: str,
    access_key: str,
) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        changed = change(permit, principal, access_key)
        recorded = {"credential": f"access-key:{changed.id}", "label": changed.label, "state": changed.state}
        return Answer(described_access_key(changed, services.keystore.clock()), recorded=recorded)

    return services.pipeline.change(call, action, Empty, work, subject=principal)


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        _PATH,
        "Make an access key, or temporary credentials, for oneself",
        create,
        Action.CREATE_CREDENTIAL,
        NewAccessKey,
        201,
        tag="identities",
    ),
    Endpoint(
        "GET",
        _PATH,
        "List an identity's access keys, without their secrets",
        list_all,
        Action.LIST_CREDENTIALS,
        query=QUERY,
        tag="identities",
    ),
    Endpoint(
        "POST",
        f"{_PATH}/<access_key>/disable",
        "Take an access key out of use",
        disable,
        Action.UPDATE_CREDENTIAL,
        Empty,
        tag="identities",
    ),
    Endpoint(
        "POST",
        f"{_PATH}/<access_key>/enable",
        "Put an access key into use again",
        enable,
        Action.UPDATE_CREDENTIAL,
        Empty,
        tag="identities",
    ),
    Endpoint(
        "DELETE",
        f"{_PATH}/<access_key>",
        "End an access key at once",
        revoke,
        Action.REVOKE_CREDENTIAL,
        Empty,
        tag="identities",
    ),
)
