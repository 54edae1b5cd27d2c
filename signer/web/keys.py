"""`/v1/keys`: making keys and looking after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.new_key import new_key_details
from signer.administration.policies import described as described_policy
from signer.call import Answer, Call
from signer.held import deletion_details, policy_details
from signer.listing import visible_keys
from signer.pipeline import present
from signer.request import Deletion, Empty, NewKeyBody, PolicyBody, Rotation
from signer.web.endpoints import Endpoint, View
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.request import Body
    from signer.services import Services


def create(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewKeyBody) -> Answer:
        made = services.keys.create(permit, call, body)
        told = {"alias": made.alias, "spec": made.spec, "purpose": made.purpose.value, "domain": made.domain}
        return Answer(services.keys.describe(made), 201, told | {"published": made.published}, made_key=made.id)

    return services.pipeline.change(call, Action.CREATE_KEY, NewKeyBody, work, details=new_key_details)


def list_visible(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        visible, last = visible_keys(services, permit, call, page.after, page.limit)
        return Answer({"keys": [services.keys.describe(key) for key in visible], "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_KEYS, work)


def describe(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None) -> Answer:
        return Answer(services.keys.describe(present(found)))

    return services.pipeline.read(call, Action.DESCRIBE_KEY, work, key)


def rotate(services: Services, call: Call, key: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: Rotation) -> Answer:
        rotated = services.keys.rotate(permit, call, present(found), body)
        version = rotated.versions[-1]
        told = {"version": version.number, "activate_at": version.activate_at}
        return Answer(services.keys.describe(rotated), recorded=told)

    return services.pipeline.change(call, Action.ROTATE_KEY, Rotation, work, key)


def disable(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, _body: Empty) -> Answer:
        return _changed(services, services.keystore.disable(present(found).id))

    return services.pipeline.change(call, Action.DISABLE_KEY, Empty, work, key)


def enable(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, _body: Empty) -> Answer:
        return _changed(services, services.keystore.enable(present(found).id))

    return services.pipeline.change(call, Action.ENABLE_KEY, Empty, work, key)


def schedule_deletion(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: Deletion) -> Answer:
        return _changed(services, services.keystore.schedule_deletion(present(found).id, days=body.days))

    return services.pipeline.change(call, Action.SCHEDULE_KEY_DELETION, Deletion, work, key, deletion_details)


def cancel_deletion(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, _body: Empty) -> Answer:
        return _changed(services, services.keystore.cancel_deletion(present(found).id))

    return services.pipeline.change(call, Action.CANCEL_KEY_DELETION, Empty, work, key)


def get_policy(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None) -> Answer:
        return Answer(described_policy(present(found).policy, services.keystore.account))

    return services.pipeline.read(call, Action.GET_KEY_POLICY, work, key)


def put_policy(services: Services, call: Call, key: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: PolicyBody) -> Answer:
        replaced = services.policies.replaced(permit, present(found), body)
        told = {"revision": replaced.policy.revision}
        return Answer(described_policy(replaced.policy, services.keystore.account), recorded=told)

    return services.pipeline.change(call, Action.PUT_KEY_POLICY, PolicyBody, work, key, policy_details)


def _changed(services: Services, key: Key) -> Answer:
    told = {"state": key.state.value} | ({} if key.deletion_at is None else {"deletion_at": key.deletion_at})
    return Answer(services.keys.describe(key), recorded=told)


def _about_a_key(method: str, path: str, summary: str, view: View, action: Action, body: type[Body] | None) -> Endpoint:
    return Endpoint(method, f"/v1/keys/<key>{path}", summary, view, action, body, tag="keys")


ENDPOINTS: Final = (
    Endpoint("POST", "/v1/keys", "Make a key in the HSM", create, Action.CREATE_KEY, NewKeyBody, 201, tag="keys"),
    Endpoint(
        "GET", "/v1/keys", "List the keys that you may see", list_visible, Action.LIST_KEYS, query=QUERY, tag="keys"
    ),
    _about_a_key("GET", "", "Describe a key", describe, Action.DESCRIBE_KEY, None),
    _about_a_key("POST", "/rotate", "Make a new version", rotate, Action.ROTATE_KEY, Rotation),
    _about_a_key("POST", "/disable", "Stop all use of a key", disable, Action.DISABLE_KEY, Empty),
    _about_a_key("POST", "/enable", "Allow use of a key again", enable, Action.ENABLE_KEY, Empty),
    _about_a_key(
        "POST",
        "/schedule-deletion",
        "Delete a key after a waiting period",
        schedule_deletion,
        Action.SCHEDULE_KEY_DELETION,
        Deletion,
    ),
    _about_a_key(
        "POST",
        "/cancel-deletion",
        "Keep a key that was to be deleted",
        cancel_deletion,
        Action.CANCEL_KEY_DELETION,
        Empty,
    ),
    _about_a_key("GET", "/policy", "Who administers and who uses a key", get_policy, Action.GET_KEY_POLICY, None),
    _about_a_key(
        "PUT", "/policy", "Change who administers and who uses a key", put_policy, Action.PUT_KEY_POLICY, PolicyBody
    ),
)
