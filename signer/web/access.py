"""`/v1/access`: who may do what, and why. Nothing here changes or uses anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.access.table import action_table
from signer.call import Answer, Call
from signer.pipeline import present
from signer.request import AccessQuestion, WhoCanQuestion
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Surroundings
    from signer.authn.principal import Principal
    from signer.services import Services


def explain(services: Services, call: Call) -> Answer:
    def work(asker: Principal, key: Key | None, surroundings: Surroundings, body: AccessQuestion) -> Answer:
        return Answer(services.access.explain(asker, key, surroundings, body))

    return services.pipeline.ask(call, AccessQuestion, work)


def who_can(services: Services, call: Call) -> Answer:
    def work(_asker: Principal, key: Key | None, surroundings: Surroundings, body: WhoCanQuestion) -> Answer:
        page = requested_page()
        found, last = services.access.who_can(present(key), surroundings, body, page.after, page.limit)
        return Answer({"principals": found, "next_cursor": next_cursor(last)})

    return services.pipeline.ask(call, WhoCanQuestion, work)


def actions(_services: Services, _call: Call) -> Answer:
    return Answer({"actions": action_table()})


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/access/explain",
        "Why a call would be allowed or denied; about themselves anyone may ask",
        explain,
        Action.EXPLAIN_ACCESS,
        AccessQuestion,
        tag="access",
    ),
    Endpoint(
        "POST",
        "/v1/access/who-can",
        "Who may do something with a key, and under which conditions",
        who_can,
        Action.EXPLAIN_ACCESS,
        WhoCanQuestion,
        query=QUERY,
        tag="access",
    ),
    Endpoint("GET", "/v1/access/actions", "Every action that policies may name", actions, tag="access"),
)
