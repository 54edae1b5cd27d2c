"""`/v1/keys/{key}/approval-rule`, `/v1/keys/{key}/approval-requests` and `/v1/approval-requests`: quorum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import request as incoming

from keystore.keys import UUID_FORM
from signer.access import Action
from signer.administration.approvals import Viewer, described_rule
from signer.call import Answer, Call
from signer.errors import MalformedRequest
from signer.pipeline import present
from signer.request import ApprovalBody, ApprovalRequestBody, ApprovalRuleBody, Empty, RejectionBody
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

_STATES: Final = ("open", "any")


def get_rule(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None) -> Answer:
        return Answer(described_rule(present(found).id, present(found).approval_rule))

    return services.pipeline.read(call, Action.GET_APPROVAL_RULE, work, key)


def put_rule(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: ApprovalRuleBody) -> Answer:
        rule = services.approvals.set_rule(present(found), body)
        return Answer(rule, recorded=rule)

    return services.pipeline.change(call, Action.PUT_APPROVAL_RULE, ApprovalRuleBody, work, key)


def remove_rule(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, _body: Empty) -> Answer:
        return Answer(services.approvals.remove_rule(present(found)))

    return services.pipeline.change(call, Action.DELETE_APPROVAL_RULE, Empty, work, key)


def ask(services: Services, call: Call, key: str) -> Answer:
    return services.pipeline.hold(call, key, services.approvals.describe)


def list_visible(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        page = requested_page("state")
        state = incoming.args.get("state", "any")
        if state not in _STATES:
            msg = f"state is one of {' and '.join(_STATES)}"
            raise MalformedRequest(msg, field="state")
        found, last = services.approvals.list_visible(
            _viewer(services, permit, call), page.after, page.limit, open_only=state == "open"
        )
        shown = [services.approvals.describe(record) for record in found]
        return Answer({"approval_requests": shown, "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_APPROVAL_REQUESTS, work)


def show(services: Services, call: Call, request: str) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        return Answer(services.approvals.describe(services.approvals.find(_viewer(services, permit, call), request)))

    return services.pipeline.read(call, Action.GET_APPROVAL_REQUEST, work)


def approve(services: Services, call: Call, request: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: ApprovalBody) -> Answer:
        return Answer(services.approvals.approve(_viewer(services, permit, call), request, body))

    return services.pipeline.change(call, Action.APPROVE_REQUEST, ApprovalBody, work, about=_about(request))


def reject(services: Services, call: Call, request: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: RejectionBody) -> Answer:
        return Answer(services.approvals.reject(_viewer(services, permit, call), request, body))

    return services.pipeline.change(call, Action.REJECT_REQUEST, RejectionBody, work, about=_about(request))


def withdraw(services: Services, call: Call, request: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        return Answer(services.approvals.withdraw(_viewer(services, permit, call), request))

    return services.pipeline.change(call, Action.WITHDRAW_REQUEST, Empty, work, about=_about(request))


def _viewer(services: Services, permit: Permit, call: Call) -> Viewer:
    """The caller; who may look at a key's policy is shown what is asked for with it."""
    principal, action = permit.principal, Action.GET_KEY_POLICY
    return Viewer(principal, lambda key: services.pipeline.allows(principal, call, action, key))


def _about(request: str) -> str | None:
    """The id for the audit record; what is none is not written down."""
    return request.lower() if UUID_FORM.fullmatch(request) else None


def _of_a_key(method: str, path: str, summary: str) -> tuple[str, str, str]:
    return method, f"/v1/keys/<key>/{path}", summary


def _of_a_request(method: str, path: str, summary: str) -> tuple[str, str, str]:
    return method, f"/v1/approval-requests{path}", summary


ENDPOINTS: Final = (
    Endpoint(
        *_of_a_key("GET", "approval-rule", "Who must approve what with a key"),
        get_rule,
        Action.GET_APPROVAL_RULE,
        tag="approvals",
    ),
    Endpoint(
        *_of_a_key("PUT", "approval-rule", "Make or replace a key's approval rule"),
        put_rule,
        Action.PUT_APPROVAL_RULE,
        ApprovalRuleBody,
        tag="approvals",
    ),
    Endpoint(
        *_of_a_key("DELETE", "approval-rule", "Take a key's approval rule away"),
        remove_rule,
        Action.DELETE_APPROVAL_RULE,
        Empty,
        tag="approvals",
    ),
    Endpoint(
        *_of_a_key("POST", "approval-requests", "Ask approvers to release a call"),
        ask,
        Action.REQUEST_APPROVAL,
        ApprovalRequestBody,
        201,
        tag="approvals",
    ),
    Endpoint(
        *_of_a_request("GET", "", "List the approval requests that concern you"),
        list_visible,
        Action.LIST_APPROVAL_REQUESTS,
        query={**QUERY, "state": "`open`, or `any` (the default)"},
        tag="approvals",
    ),
    Endpoint(
        *_of_a_request("GET", "/<request>", "Show what is to be approved, and who voted"),
        show,
        Action.GET_APPROVAL_REQUEST,
        tag="approvals",
    ),
    Endpoint(
        *_of_a_request("POST", "/<request>/approve", "Approve exactly what was shown"),
        approve,
        Action.APPROVE_REQUEST,
        ApprovalBody,
        tag="approvals",
    ),
    Endpoint(
        *_of_a_request("POST", "/<request>/reject", "Say no to a request"),
        reject,
        Action.REJECT_REQUEST,
        RejectionBody,
        tag="approvals",
    ),
    Endpoint(
        *_of_a_request("POST", "/<request>/withdraw", "Take your own request back"),
        withdraw,
        Action.WITHDRAW_REQUEST,
        Empty,
        tag="approvals",
    ),
)
