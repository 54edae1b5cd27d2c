"""`/v1/usage`: who used what, in numbers, for charge-back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.audit_questions import PARAMETERS_OF_USAGE, UsageQuery
from signer.authn.tokens import blanked
from signer.call import Answer, Call
from signer.decoding import decode_query
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, asked_parameters, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services


def usage(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page(*PARAMETERS_OF_USAGE)
        given = {name: value for name, value in asked_parameters().items() if name not in QUERY}
        found, last = services.usage.usage(decode_query(given, UsageQuery), page.after, page.limit)
        asked = {name: blanked(value) for name, value in given.items()}
        return Answer({**found, "next_cursor": next_cursor(last)}, recorded=asked)

    return services.pipeline.read(call, Action.READ_USAGE, work)


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/usage",
        "Requests and items of each day, by principal, key, action and outcome",
        usage,
        Action.READ_USAGE,
        query={**QUERY, **PARAMETERS_OF_USAGE},
        tag="audit",
    ),
)
