"""Aliases: made, moved, taken away, listed. Who changes one needs to be allowed it for the key that it names; who moves
one, for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.aliases import RESERVED
from keystore.keys import KEY_ID_FORM
from signer.access import Action
from signer.call import Answer, Call
from signer.errors import Conflict
from signer.kms.errors import Refusal
from signer.kms.operation import KmsOperation
from signer.kms.paging import after, page
from signer.kms.references import ALIAS, administered, alias_name
from signer.kms.shapes import AliasName, KeyId, Limit, Marker, Request
from signer.kms.states import require_labelled
from signer.kms.translation import Translated
from signer.listing import visible_aliases
from signer.pipeline import present
from signer.request import AliasBody

if TYPE_CHECKING:
    from keystore.aliases import AliasRecord
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

_USUAL_PAGE: Final = 50


class AliasRequest(Request):
    """`CreateAlias`, `UpdateAlias`"""

    alias_name: AliasName
    target_key_id: KeyId


class DeleteAliasRequest(Request):
    """`DeleteAlias`"""

    alias_name: AliasName


class ListAliasesRequest(Request):
    """`ListAliases`"""

    key_id: KeyId | None = None
    limit: Limit | None = None
    marker: Marker | None = None


def create_alias(services: Services, call: Call) -> Answer:
    """`CreateAlias`"""
    asked = Translated(AliasRequest, lambda request: AliasBody(alias=_own_name(request.alias_name)))

    def before(_permit: Permit, key: Key | None, _body: AliasBody) -> None:
        require_labelled(present(key), services.keystore.clock())

    def work(_permit: Permit, key: Key | None, body: AliasBody) -> Answer:
        try:
            made = services.labels.create_alias(present(key), body.alias)
        except Conflict as taken:
            msg = f"An alias with the name {_arn(body.alias, services)} already exists"
            raise Refusal("AlreadyExistsException", msg, code=taken.code, field="aliasName") from taken
        return Answer(None, recorded={"alias": made.name})

    return services.pipeline.change(
        asked.of(call),
        Action.CREATE_ALIAS,
        AliasBody,
        work,
        lambda _body: administered(asked.request.target_key_id, services.keystore, member="targetKeyId"),
        before=before,
    )


def update_alias(services: Services, call: Call) -> Answer:
    """`UpdateAlias`"""
    asked = Translated(AliasRequest, lambda request: AliasBody(alias=_own_name(request.alias_name)))

    def before(_permit: Permit, key: Key | None, _body: AliasBody) -> None:
        require_labelled(present(key), services.keystore.clock())

    def work(permit: Permit, key: Key | None, body: AliasBody) -> Answer:
        named = services.pipeline.require_too(permit, call, body.alias)
        services.labels.move_alias(body.alias, named, present(key))
        return Answer(None, recorded={"alias": body.alias, "from": named.id})

    return services.pipeline.change(
        asked.of(call),
        Action.UPDATE_ALIAS,
        AliasBody,
        work,
        lambda _body: administered(asked.request.target_key_id, services.keystore, member="targetKeyId"),
        before=before,
    )


def delete_alias(services: Services, call: Call) -> Answer:
    """`DeleteAlias`"""
    asked = Translated(DeleteAliasRequest, lambda request: AliasBody(alias=_own_name(request.alias_name)))

    def work(_permit: Permit, key: Key | None, body: AliasBody) -> Answer:
        services.labels.delete_alias(present(key), body.alias)
        return Answer(None, recorded={"alias": body.alias})

    return services.pipeline.change(asked.of(call), Action.DELETE_ALIAS, AliasBody, work, lambda body: body.alias)


def list_aliases(services: Services, call: Call) -> Answer:
    """`ListAliases`: those of the keys that the caller may describe."""

    def work(permit: Permit, _key: Key | None, body: ListAliasesRequest) -> Answer:
        begin, limit = after(body.marker, "Aliases"), body.limit or _USUAL_PAGE
        of = None if body.key_id is None else administered(body.key_id, services.keystore)
        found, last = visible_aliases(services, permit, call, begin, limit, of)
        return Answer(page("Aliases", [_shown(alias, services) for alias in found], last))

    return services.pipeline.look(call, Action.LIST_ALIASES, ListAliasesRequest, work)


def _own_name(asked: str) -> str:
    """The name without `alias/`. Raises `Refusal`: `InvalidAliasNameException`, `ValidationException`."""
    name = alias_name(asked)
    if name.startswith(RESERVED) or KEY_ID_FORM.fullmatch(name):
        reserved = f"Alias names that begin with {ALIAS}{RESERVED} are reserved"
        msg = reserved if name.startswith(RESERVED) else "An alias must not have the form of a key's id"
        raise Refusal("InvalidAliasNameException", msg, field="aliasName")
    return name


def _arn(name: str, services: Services) -> str:
    return f"arn:aws:kms:{services.keystore.region}:{services.keystore.account}:{ALIAS}{name}"


def _shown(alias: AliasRecord, services: Services) -> dict[str, object]:
    return {
        "AliasName": f"{ALIAS}{alias.name}",
        "AliasArn": _arn(alias.name, services),
        "TargetKeyId": alias.key_id,
        "CreationDate": alias.created_at,
        "LastUpdatedDate": alias.updated_at,
    }


OPERATIONS: Final = (
    KmsOperation("CreateAlias", AliasRequest, create_alias, (Action.CREATE_ALIAS,)),
    KmsOperation("UpdateAlias", AliasRequest, update_alias, (Action.UPDATE_ALIAS,)),
    KmsOperation("DeleteAlias", DeleteAliasRequest, delete_alias, (Action.DELETE_ALIAS,)),
    KmsOperation("ListAliases", ListAliasesRequest, list_aliases, (Action.LIST_ALIASES,)),
)
