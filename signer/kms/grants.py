"""Grants: made, listed, retired, revoked. Here a grant is in force at once; its token only names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from keystore.access import GrantState
from keystore.api import KeyState
from keystore.keys import UUID_FORM
from signer.access import Action
from signer.access.short_form import arn_of
from signer.administration.grants import recorded
from signer.call import Answer, Call
from signer.errors import DryRun, MalformedRequest, NotFound, Unprocessable
from signer.kms.errors import INVALID_ARN, Refusal, invalid, unsupported
from signer.kms.grant_tokens import granted_by, require_grant_tokens, token_of
from signer.kms.operation import KmsOperation
from signer.kms.paging import after, page
from signer.kms.references import administered
from signer.kms.shapes import GrantTokens, KeyId, Limit, Marker, PrincipalId, Request, ServicePrincipal, Shape
from signer.kms.states import require_enabled
from signer.kms.translation import Translated
from signer.pipeline import DRY_RUN, present
from signer.request import Empty, NewGrant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keystore.access import GrantRecord
    from keystore.api import Key
    from signer.access import Permit
    from signer.access.model import GrantFacts
    from signer.authn.principal import Principal
    from signer.services import Services

_USUAL_PAGE: Final = 50
GrantId = Annotated[str, Meta(min_length=1, max_length=128)]
GrantToken = Annotated[str, Meta(min_length=1, max_length=8192)]
GrantOperation = Literal[
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "GetPublicKey",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "VerifyMac",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
]
_PRINCIPAL: Final = re.compile(r"arn:aws:iam::(?P<account>[0-9]{12}):(?P<name>(user|role)/[A-Za-z0-9][A-Za-z0-9_.@-]*)")


class Constraints(Shape):
    """What the encryption context of a granted request must be."""

    encryption_context_subset: dict[str, str] | None = None
    encryption_context_equals: dict[str, str] | None = None
    source_arn: (
        Annotated[
            str,
            Meta(
                min_length=20, max_length=512, pattern="^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$(?!\\n)"
            ),
        ]
        | None
    ) = None


class CreateGrantRequest(Request):
    """`CreateGrant`"""

    key_id: KeyId
    operations: list[GrantOperation]
    grantee_principal: PrincipalId | None = None
    retiring_principal: PrincipalId | None = None
    constraints: Constraints | None = None
    grant_tokens: GrantTokens | None = None
    name: Annotated[str, Meta(min_length=1, max_length=256, pattern="^[a-zA-Z0-9:/_-]+$(?!\\n)")] | None = None
    dry_run: bool | None = None
    grantee_service_principal: ServicePrincipal | None = None
    retiring_service_principal: ServicePrincipal | None = None


class ListGrantsRequest(Request):
    """`ListGrants`"""

    key_id: KeyId
    limit: Limit | None = None
    marker: Marker | None = None
    grant_id: GrantId | None = None
    grantee_principal: PrincipalId | None = None
    grantee_service_principal: ServicePrincipal | None = None


class ListRetirableGrantsRequest(Request):
    """`ListRetirableGrants`"""

    limit: Limit | None = None
    marker: Marker | None = None
    retiring_principal: PrincipalId | None = None
    retiring_service_principal: ServicePrincipal | None = None


class RetireGrantRequest(Request):
    """`RetireGrant`"""

    grant_token: GrantToken | None = None
    key_id: KeyId | None = None
    grant_id: GrantId | None = None
    dry_run: bool | None = None


class RevokeGrantRequest(Request):
    """`RevokeGrant`"""

    key_id: KeyId
    grant_id: GrantId
    dry_run: bool | None = None


def create_grant(services: Services, call: Call) -> Answer:
    """`CreateGrant`"""
    asked = Translated(CreateGrantRequest, lambda request: _new_grant(request, services.keystore.account))

    def before(permit: Permit, key: Key | None, body: NewGrant) -> None:
        require_grant_tokens(asked.request.grant_tokens, services.keystore)
        require_enabled(present(key), services.keystore.clock())
        with_known_people(lambda: services.grants.check(permit, present(key), body))
        if asked.request.dry_run:
            raise DryRun(DRY_RUN)

    def work(permit: Permit, key: Key | None, body: NewGrant) -> Answer:
        made = services.grants.create(permit, present(key), body)
        return Answer({"GrantToken": token_of(made), "GrantId": made.id}, recorded=recorded(made))

    return services.pipeline.change(
        asked.of(call),
        Action.CREATE_GRANT,
        NewGrant,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
        services.grants.circumstances,
        subject=lambda body: body.grantee,
        before=before,
    )


def _new_grant(request: CreateGrantRequest, account: str) -> NewGrant:
    if request.grantee_service_principal is not None or request.retiring_service_principal is not None:
        msg = "Service principals do not exist here: every caller is a user or a role of this account"
        raise unsupported(msg, field="granteeServicePrincipal")
    if request.grantee_principal is None:
        raise invalid("GranteePrincipal must be given", field="granteePrincipal")
    retiring = request.retiring_principal
    members = {
        "grantee": principal_of(request.grantee_principal, account, "granteePrincipal"),
        "operations": list(dict.fromkeys(request.operations)),
        "constraints": _constraints(request.constraints),
        "name": request.name,
        "retiring": None if retiring is None else principal_of(retiring, account, "retiringPrincipal"),
    }
    try:
        return msgspec.convert(members, NewGrant)
    except msgspec.ValidationError as error:
        raise MalformedRequest(str(error)) from error


def _constraints(given: Constraints | None) -> dict[str, object] | None:
    if given is None:
        return None
    if given.source_arn is not None:
        raise unsupported("SourceArn is not supported: no AWS service calls here", field="constraints.sourceArn")
    equals, subset = given.encryption_context_equals, given.encryption_context_subset
    if equals is None and subset is None:
        return None
    if equals is not None and subset is not None:
        msg = "Specify EncryptionContextEquals or EncryptionContextSubset, not both"
        raise invalid(msg, field="constraints")
    return {"context_equals": equals, "context_subset": subset}


def with_known_people(check: Callable[[], None]) -> None:
    """A principal that is not there, or cannot be who it is to be, as AWS refuses it: `InvalidArnException`."""
    try:
        check()
    except Unprocessable as refusal:
        if refusal.field in ("grantee", "retiring"):
            raise Refusal(INVALID_ARN, str(refusal), field=f"{refusal.field}Principal") from refusal
        raise


def principal_of(arn: str, account: str, member: str) -> str:
    """`user/NAME` or `role/NAME` of an ARN, or as it stands. Raises `Refusal`: `InvalidArnException`."""
    found = _PRINCIPAL.fullmatch(arn if arn.startswith("arn:") else arn_of(arn, account))
    if found is None or found["account"] != account:
        msg = "ARN does not refer to a valid principal: name a user or a role of this account"
        raise Refusal(INVALID_ARN, msg, field=member)
    return found["name"]


def list_grants(services: Services, call: Call) -> Answer:
    """`ListGrants`"""

    def work(_permit: Permit, key: Key | None, body: ListGrantsRequest) -> Answer:
        found, keystore = present(key), services.keystore
        limit = body.limit or _USUAL_PAGE
        grantee = body.grantee_principal
        if body.grantee_service_principal is not None:
            return Answer(page("Grants", [], None))
        name = None if grantee is None else principal_of(grantee, keystore.account, "granteePrincipal")
        if body.grant_id is not None:
            grant = _active(body.grant_id, found, services)
            shown = [grant] if name in (None, grant.grantee) else []
            return Answer(page("Grants", [_shown(each, services) for each in shown], None))
        grants = keystore.list_grants(found.id, after(body.marker, "Grants"), limit + 1, grantee=name)
        return Answer(_page(grants, limit, services))

    def reference(body: ListGrantsRequest) -> str:
        return administered(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.LIST_GRANTS, ListGrantsRequest, work, reference)


def list_retirable_grants(services: Services, call: Call) -> Answer:
    """`ListRetirableGrants`: the caller's own; of others those on keys whose grants the caller may list."""

    def work(permit: Permit, _key: Key | None, body: ListRetirableGrantsRequest) -> Answer:
        if body.retiring_service_principal is not None:
            return Answer(page("Grants", [], None))
        if body.retiring_principal is None:
            raise invalid("RetiringPrincipal must be given", field="retiringPrincipal")
        retiring = principal_of(body.retiring_principal, services.keystore.account, "retiringPrincipal")
        limit = body.limit or _USUAL_PAGE
        found = services.grants.retirable_by(
            retiring, after(body.marker, "Grants"), limit + 1, _sees(services, permit, call)
        )
        return Answer(_page(found, limit, services))

    return services.pipeline.look(call, Action.LIST_RETIRABLE_GRANTS, ListRetirableGrantsRequest, work)


def _sees(services: Services, permit: Permit, call: Call) -> Callable[[GrantRecord], bool]:
    caller, known = permit.principal, dict[str, bool]()

    def sees(grant: GrantRecord) -> bool:
        if grant.key_id not in known:
            key = services.keystore.get_key(grant.key_id)
            own = grant.retiring == caller.name
            allowed = own or services.pipeline.allows(caller, call, Action.LIST_GRANTS, key)
            known[grant.key_id] = allowed and key.state is not KeyState.DELETED
        return known[grant.key_id]

    return sees


def retire_grant(services: Services, call: Call) -> Answer:
    """`RetireGrant`: by its token, or by key and id."""
    asked = Translated(RetireGrantRequest, lambda _request: Empty())

    def named() -> tuple[str, str]:
        """The key and the grant."""
        request = asked.request
        if request.grant_token is not None:
            if request.key_id is not None or request.grant_id is not None:
                raise invalid("Specify GrantToken, or KeyId and GrantId", field="grantToken")
            grant = granted_by(request.grant_token, services.keystore)
            return grant.key_id, grant.id
        if request.key_id is None or request.grant_id is None:
            raise invalid("Specify GrantToken, or KeyId and GrantId", field="grantToken")
        return administered(request.key_id, services.keystore), request.grant_id

    def itself(key: Key, caller: Principal) -> Sequence[GrantFacts]:
        return services.grants.retirable(key, named()[1], caller.name)

    def reference(_body: Empty) -> str:
        return named()[0]

    return _ended(services, asked.of(call), Action.RETIRE_GRANT, reference, lambda: named()[1], asked, itself)


def revoke_grant(services: Services, call: Call) -> Answer:
    """`RevokeGrant`"""
    asked = Translated(RevokeGrantRequest, lambda _request: Empty())

    def reference(_body: Empty) -> str:
        return administered(asked.request.key_id, services.keystore)

    return _ended(services, asked.of(call), Action.REVOKE_GRANT, reference, lambda: asked.request.grant_id, asked)


def _ended(
    services: Services,
    call: Call,
    action: Action,
    reference: Callable[[Empty], str],
    grant_id: Callable[[], str],
    asked: Translated[RetireGrantRequest, Empty] | Translated[RevokeGrantRequest, Empty],
    grants: Callable[[Key, Principal], Sequence[GrantFacts]] | None = None,
) -> Answer:
    state = GrantState.RETIRED if action is Action.RETIRE_GRANT else GrantState.REVOKED

    def before(_permit: Permit, key: Key | None, _body: Empty) -> None:
        _active(grant_id(), present(key), services)
        if asked.request.dry_run:
            raise DryRun(DRY_RUN)

    def work(permit: Permit, key: Key | None, _body: Empty) -> Answer:
        try:
            ended = services.grants.end(permit, present(key), grant_id(), state)
        except NotFound as absent:
            raise _no_grant() from absent
        return Answer(None, recorded=recorded(ended))

    return services.pipeline.change(call, action, Empty, work, reference, grants=grants, before=before)


def _active(grant_id: str, key: Key, services: Services) -> GrantRecord:
    """Raises `Refusal`: `InvalidGrantIdException`."""
    found = services.keystore.find_grant(grant_id.lower()) if UUID_FORM.fullmatch(grant_id) else None
    if found is None or found.key_id != key.id or found.state is not GrantState.ACTIVE:
        raise _no_grant()
    return found


def _no_grant() -> Refusal:
    return Refusal(
        "InvalidGrantIdException", "There is no such active grant on this key", code="not_found", field="grantId"
    )


def _page(grants: Sequence[GrantRecord], limit: int, services: Services) -> dict[str, object]:
    last = grants[limit - 1].id if len(grants) > limit else None
    return page("Grants", [_shown(grant, services) for grant in grants[:limit]], last)


def _shown(grant: GrantRecord, services: Services) -> dict[str, object]:
    account = services.keystore.account
    constraints = {
        "EncryptionContextEquals": grant.context_equals,
        "EncryptionContextSubset": grant.context_subset,
    }
    return {
        "KeyId": services.keystore.arn_of(grant.key_id),
        "GrantId": grant.id,
        "Name": grant.name,
        "CreationDate": grant.created_at,
        "GranteePrincipal": arn_of(grant.grantee, account),
        "RetiringPrincipal": None if grant.retiring is None else arn_of(grant.retiring, account),
        "IssuingAccount": f"arn:aws:iam::{account}:root",
        "Operations": list(grant.operations),
        "Constraints": {name: value for name, value in constraints.items() if value is not None} or None,
    }


OPERATIONS: Final = (
    KmsOperation("CreateGrant", CreateGrantRequest, create_grant, (Action.CREATE_GRANT,)),
    KmsOperation("ListGrants", ListGrantsRequest, list_grants, (Action.LIST_GRANTS,)),
    KmsOperation(
        "ListRetirableGrants", ListRetirableGrantsRequest, list_retirable_grants, (Action.LIST_RETIRABLE_GRANTS,)
    ),
    KmsOperation("RetireGrant", RetireGrantRequest, retire_grant, (Action.RETIRE_GRANT,)),
    KmsOperation("RevokeGrant", RevokeGrantRequest, revoke_grant, (Action.REVOKE_GRANT,)),
)
