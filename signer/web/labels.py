"""`/v1/keys/{key}/aliases`, `/tags`, `/description`, `/rotation`: what a key is called, labelled with, and when it is
rotated by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.access.circumstances import requested_tags
from signer.call import Answer, Call
from signer.held import rotation_details, untagging_details
from signer.pipeline import present
from signer.request import AliasBody, Empty, KeyDescription, RotationPeriod, TagNames, TagsBody
from signer.web.endpoints import Endpoint, View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import Key
    from signer.access import Permit
    from signer.request import Body
    from signer.services import Services


def add_alias(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: AliasBody) -> Answer:
        services.labels.create_alias(present(found), body.alias)
        return _described(services, present(found), {"alias": body.alias})

    return services.pipeline.change(call, Action.CREATE_ALIAS, AliasBody, work, key)


def move_alias(services: Services, call: Call, key: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: AliasBody) -> Answer:
        named = services.pipeline.require_too(permit, call, body.alias)
        services.labels.move_alias(body.alias, named, present(found))
        return _described(services, present(found), {"alias": body.alias, "from": named.id})

    return services.pipeline.change(call, Action.UPDATE_ALIAS, AliasBody, work, key)


def remove_alias(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: AliasBody) -> Answer:
        services.labels.delete_alias(present(found), body.alias)
        return _described(services, present(found), {"alias": body.alias})

    return services.pipeline.change(call, Action.DELETE_ALIAS, AliasBody, work, key)


def tag(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: TagsBody) -> Answer:
        services.labels.tag(present(found), body.tags)
        return _described(services, present(found), {"tags": body.tags})

    return services.pipeline.change(
        call, Action.TAG_RESOURCE, TagsBody, work, key, lambda body: requested_tags(body.tags)
    )


def untag(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: TagNames) -> Answer:
        services.labels.untag(present(found), body.names)
        return _described(services, present(found), {"tags_removed": body.names})

    return services.pipeline.change(call, Action.UNTAG_RESOURCE, TagNames, work, key, untagging_details)


def describe(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: KeyDescription) -> Answer:
        services.labels.describe(present(found), body.description)
        return _described(services, present(found), {"description": body.description})

    return services.pipeline.change(call, Action.UPDATE_KEY_DESCRIPTION, KeyDescription, work, key)


def schedule_rotation(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: RotationPeriod) -> Answer:
        services.keystore.schedule_rotation(present(found).id, body.days, services.keystore.clock())
        return _described(services, present(found), {"rotation_days": body.days})

    return services.pipeline.change(call, Action.ENABLE_KEY_ROTATION, RotationPeriod, work, key, rotation_details)


def unschedule_rotation(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, _body: Empty) -> Answer:
        services.keystore.unschedule_rotation(present(found).id)
        return _described(services, present(found), {})

    return services.pipeline.change(call, Action.DISABLE_KEY_ROTATION, Empty, work, key)


def _described(services: Services, key: Key, told: Mapping[str, object]) -> Answer:
    return Answer(services.keys.describe(services.keystore.get_key(key.id)), recorded=told or None)


def _about_a_key(method: str, path: str, summary: str, view: View, action: Action, body: type[Body]) -> Endpoint:
    return Endpoint(method, f"/v1/keys/<key>{path}", summary, view, action, body, tag="keys")


ENDPOINTS: Final = (
    _about_a_key("POST", "/aliases", "Give a key a further name", add_alias, Action.CREATE_ALIAS, AliasBody),
    _about_a_key(
        "POST", "/aliases/move", "Let another key's alias name this one", move_alias, Action.UPDATE_ALIAS, AliasBody
    ),
    _about_a_key("POST", "/aliases/remove", "Take a name away", remove_alias, Action.DELETE_ALIAS, AliasBody),
    _about_a_key("POST", "/tags", "Add tags, or change their values", tag, Action.TAG_RESOURCE, TagsBody),
    _about_a_key("POST", "/tags/remove", "Take tags away", untag, Action.UNTAG_RESOURCE, TagNames),
    _about_a_key("PUT", "/description", "Describe a key", describe, Action.UPDATE_KEY_DESCRIPTION, KeyDescription),
    _about_a_key(
        "PUT",
        "/rotation",
        "Rotate a key by itself every so many days",
        schedule_rotation,
        Action.ENABLE_KEY_ROTATION,
        RotationPeriod,
    ),
    _about_a_key(
        "DELETE",
        "/rotation",
        "Rotate a key by itself no more",
        unschedule_rotation,
        Action.DISABLE_KEY_ROTATION,
        Empty,
    ),
)
