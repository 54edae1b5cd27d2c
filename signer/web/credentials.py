"""`/v1/enrolments` and the tokens of a principal: how callers come to prove themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.credentials import described_credential, named_in_records
from signer.authn.tokens import short_id
from signer.call import Answer, Call
from signer.decoding import decode
from signer.errors import TooManyRequests, Unauthenticated
from signer.request import Empty, Enrolment, NewApiToken, NewEnrolment
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import EnrolmentRecord, Key
    from signer.access import Permit
    from signer.services import Services


def enrol(services: Services, call: Call) -> Answer:
    body = decode(call.body, Enrolment)

    def record(enrolment: EnrolmentRecord, again: bool) -> None:
        # The record comes first: a code is not used up for a token that cannot be given.
        code = {"enrolment": short_id(enrolment.id), "made_by": enrolment.created_by, "again": again}
        call.trace.told = True
        services.audit.note(enrolment.principal, "Enrol", call, subject=enrolment.principal, detail=code)

    try:
        with services.throttle.attempt(call.source, body.code):
            name, token, expires_at = services.credentials.enrol(body.code, call.source, record)
    except (Unauthenticated, TooManyRequests) as refusal:
        services.audit.count_unauthenticated(refusal.code, of="enrolment_")
        call.trace.told = True
        raise
    return Answer({"name": name, "token": token, "expires_at": expires_at}, 201)


def enrol_again(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewEnrolment) -> Answer:
        code, enrolment, revoked = services.credentials.enrol_again(permit, f"{kind}/{name}", revoke=body.revoke_tokens)
        shown = {"name": enrolment.principal, "enrolment_code": code, "expires_at": enrolment.expires_at}
        recorded = {"enrolment": short_id(enrolment.id), "revoked_tokens": revoked}
        return Answer({**shown, "revoked_tokens": revoked}, 201, recorded)

    return services.pipeline.change(call, Action.CREATE_ENROLMENT, NewEnrolment, work, subject=f"{kind}/{name}")


def create(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewApiToken) -> Answer:
        credential, token = services.credentials.create(permit, f"{kind}/{name}", body)
        shown = {"id": short_id(credential.id), "label": credential.label, "expires_at": credential.expires_at}
        return Answer({**shown, "token": token}, 201, {"credential": named_in_records(credential), **shown})

    return services.pipeline.change(call, Action.CREATE_CREDENTIAL, NewApiToken, work, subject=f"{kind}/{name}")


def list_all(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        found = services.credentials.page(permit, f"{kind}/{name}", page.after, page.limit + 1)
        moment = services.keystore.clock()
        shown = found[: page.limit]
        last = short_id(shown[-1].id) if len(found) > page.limit else None
        tokens = [described_credential(credential, moment) for credential in shown]
        return Answer({"tokens": tokens, "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_CREDENTIALS, work, subject=f"{kind}/{name}")


def revoke(services: Services, call: Call, kind: str, name: str, credential: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        ended = services.credentials.revoke(permit, f"{kind}/{name}", credential)
        shown = {"id": short_id(ended.id), "state": "revoked"}
        return Answer(shown, recorded={"credential": named_in_records(ended), "label": ended.label})

    return services.pipeline.change(call, Action.REVOKE_CREDENTIAL, Empty, work, subject=f"{kind}/{name}")


_TOKENS: Final = "/v1/principals/<kind>/<name>/tokens"
ENDPOINTS: Final = (
    Endpoint(
        "POST", "/v1/enrolments", "Use an enrolment code up for a token", enrol, None, Enrolment, 201, tag="identities"
    ),
    Endpoint(
        "POST",
        "/v1/principals/<kind>/<name>/enrolments",
        "Make a new enrolment code, for a lost token",
        enrol_again,
        Action.CREATE_ENROLMENT,
        NewEnrolment,
        201,
        tag="identities",
    ),
    Endpoint(
        "POST",
        _TOKENS,
        "Make a further token for oneself",
        create,
        Action.CREATE_CREDENTIAL,
        NewApiToken,
        201,
        tag="identities",
    ),
    Endpoint(
        "GET",
        _TOKENS,
        "List an identity's tokens, without their secrets",
        list_all,
        Action.LIST_CREDENTIALS,
        query=QUERY,
        tag="identities",
    ),
    Endpoint(
        "DELETE",
        f"{_TOKENS}/<credential>",
        "End a token at once",
        revoke,
        Action.REVOKE_CREDENTIAL,
        Empty,
        tag="identities",
    ),
)
