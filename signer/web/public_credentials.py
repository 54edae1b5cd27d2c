"""`/v1/principals/{kind}/{name}/public-credentials`: client certificates and request keys, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.public_credentials import described
from signer.call import Answer, Call
from signer.request import Empty, NewPublicCredential
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key, PublicCredentialRecord
    from signer.access import Permit
    from signer.services import Services

_PATH: Final = "/v1/principals/<kind>/<name>/public-credentials"


def add(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewPublicCredential) -> Answer:
        made = services.public_credentials.add(permit, f"{kind}/{name}", body)
        return Answer(described(made), 201, _recorded(made))

    return services.pipeline.change(call, Action.CREATE_CREDENTIAL, NewPublicCredential, work, subject=f"{kind}/{name}")


def list_all(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        found = services.public_credentials.list_page(permit, f"{kind}/{name}", page.after, page.limit + 1)
        shown = found[: page.limit]
        last = shown[-1].id if len(found) > page.limit else None
        return Answer({"public_credentials": [described(one) for one in shown], "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_CREDENTIALS, work, subject=f"{kind}/{name}")


def revoke(services: Services, call: Call, kind: str, name: str, binding: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        revoked = services.public_credentials.revoke(permit, f"{kind}/{name}", binding)
        return Answer(described(revoked), recorded=_recorded(revoked))

    return services.pipeline.change(call, Action.REVOKE_CREDENTIAL, Empty, work, subject=f"{kind}/{name}")


def _recorded(credential: PublicCredentialRecord) -> dict[str, str]:
    """Who can call as whom by it: nobody enrols in another's name unseen."""
    return {
        "credential": credential.id,
        "match": credential.match.value,
        "principal": credential.principal,
        "value": credential.value,
    }


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        _PATH,
        "Bind a client certificate or a request key to an identity",
        add,
        Action.CREATE_CREDENTIAL,
        NewPublicCredential,
        201,
        tag="identities",
    ),
    Endpoint(
        "GET",
        _PATH,
        "List an identity's client certificates and request keys",
        list_all,
        Action.LIST_CREDENTIALS,
        query=QUERY,
        tag="identities",
    ),
    Endpoint(
        "DELETE",
        f"{_PATH}/<binding>",
        "Revoke a client certificate's binding or a request key",
        revoke,
        Action.REVOKE_CREDENTIAL,
        Empty,
        tag="identities",
    ),
)
