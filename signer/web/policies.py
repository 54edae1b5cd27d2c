"""The policies of principals, and the history of policies."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.identity_policies import described, duty_policy, summary
from signer.administration.policies import described as described_policy
from signer.administration.policies import described_version, version_summary
from signer.call import Answer, Call
from signer.errors import NotFound
from signer.held import policy_details
from signer.pipeline import present
from signer.request import IdentityPolicyBody, Reason, Restoration
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, number_after, requested_page

if TYPE_CHECKING:
    from keystore.access import PolicyVersion
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")


def list_versions(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None) -> Answer:
        page = requested_page()
        versions = services.keystore.list_policy_versions(present(found).id, number_after(page), page.limit + 1)
        return _page(versions, page.limit, [version_summary(version) for version in versions])

    return services.pipeline.read(call, Action.GET_KEY_POLICY, work, key)


def show_version(services: Services, call: Call, key: str, revision: str) -> Answer:
    def work(_permit: Permit, found: Key | None) -> Answer:
        return Answer(described_version(services.policies.version(present(found), _number(revision))))

    return services.pipeline.read(call, Action.GET_KEY_POLICY, work, key)


def restore_version(services: Services, call: Call, key: str, revision: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: Restoration) -> Answer:
        restored = services.policies.restored(permit, present(found), _number(revision), body)
        told = {"revision": restored.policy.revision, "restored": _number(revision)}
        return Answer(described_policy(restored.policy, services.keystore.account), recorded=told)

    return services.pipeline.change(call, Action.PUT_KEY_POLICY, Restoration, work, key, policy_details)


def list_of_principal(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        principal = services.identity_policies.present(f"{kind}/{name}")
        attached = services.keystore.list_identity_policies(principal.name)
        return Answer({"duty": duty_policy(principal), "policies": [summary(policy) for policy in attached]})

    return services.pipeline.read(call, Action.GET_PRINCIPAL_POLICY, work, subject=f"{kind}/{name}")


def show_of_principal(services: Services, call: Call, kind: str, name: str, policy: str) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        return Answer(described(services.identity_policies.find(f"{kind}/{name}", policy)))

    return services.pipeline.read(call, Action.GET_PRINCIPAL_POLICY, work, subject=f"{kind}/{name}")


def put_of_principal(services: Services, call: Call, kind: str, name: str, policy: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: IdentityPolicyBody) -> Answer:
        attached = services.identity_policies.put(permit, f"{kind}/{name}", policy, body)
        return Answer(described(attached), recorded={"policy": attached.name, "revision": attached.revision})

    return services.pipeline.change(
        call, Action.PUT_PRINCIPAL_POLICY, IdentityPolicyBody, work, subject=f"{kind}/{name}"
    )


def delete_of_principal(services: Services, call: Call, kind: str, name: str, policy: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: Reason) -> Answer:
        services.identity_policies.delete(permit, f"{kind}/{name}", policy, body.reason)
        shown = {"name": policy, "state": "deleted"}
        return Answer(shown, recorded={"policy": policy, "state": "deleted"})

    return services.pipeline.change(call, Action.PUT_PRINCIPAL_POLICY, Reason, work, subject=f"{kind}/{name}")


def list_versions_of_principal(services: Services, call: Call, kind: str, name: str) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        principal = services.keystore.find_principal(f"{kind}/{name}")  # a deleted one's history stays
        if principal is None:
            msg = f"there is no principal {kind}/{name}, and never was"
            raise NotFound(msg, field="name")
        found = services.keystore.list_identity_policy_versions(principal.name, number_after(page), page.limit + 1)
        return _page(found, page.limit, [_of_principal(version) for version in found])

    return services.pipeline.read(call, Action.GET_PRINCIPAL_POLICY, work, subject=f"{kind}/{name}")


def _of_principal(version: PolicyVersion) -> dict[str, object]:
    return {
        **version_summary(version),
        "name": version.policy,
        "policy": None if version.document is None else json.loads(version.document),
    }


def _page(versions: list[PolicyVersion], limit: int, described_versions: list[dict[str, object]]) -> Answer:
    last = str(versions[limit - 1].revision) if len(versions) > limit else None
    return Answer({"versions": described_versions[:limit], "next_cursor": next_cursor(last)})


def _number(revision: str) -> int:
    if not _NUMBER.fullmatch(revision):
        msg = "a revision is a number from 1"
        raise NotFound(msg, field="revision")
    return int(revision)


_OF_KEY: Final = "/v1/keys/<key>/policy/versions"
_OF_PRINCIPAL: Final = "/v1/principals/<kind>/<name>/policies"
ENDPOINTS: Final = (
    Endpoint(
        "GET",
        _OF_KEY,
        "Every version of a key's policy: when, by whom, why",
        list_versions,
        Action.GET_KEY_POLICY,
        query=QUERY,
        tag="access",
    ),
    Endpoint(
        "GET", f"{_OF_KEY}/<revision>", "A version of a key's policy", show_version, Action.GET_KEY_POLICY, tag="access"
    ),
    Endpoint(
        "POST",
        f"{_OF_KEY}/<revision>/restore",
        "Make an earlier version count again, as a new one",
        restore_version,
        Action.PUT_KEY_POLICY,
        Restoration,
        tag="access",
    ),
    Endpoint(
        "GET",
        _OF_PRINCIPAL,
        "What an identity's duty allows, and the policies attached to it",
        list_of_principal,
        Action.GET_PRINCIPAL_POLICY,
        tag="access",
    ),
    Endpoint(
        "GET",
        f"{_OF_PRINCIPAL}/<policy>",
        "A policy of an identity",
        show_of_principal,
        Action.GET_PRINCIPAL_POLICY,
        tag="access",
    ),
    Endpoint(
        "PUT",
        f"{_OF_PRINCIPAL}/<policy>",
        "Attach a policy to an identity, or replace it",
        put_of_principal,
        Action.PUT_PRINCIPAL_POLICY,
        IdentityPolicyBody,
        tag="access",
    ),
    Endpoint(
        "DELETE",
        f"{_OF_PRINCIPAL}/<policy>",
        "Take a policy away from an identity",
        delete_of_principal,
        Action.PUT_PRINCIPAL_POLICY,
        Reason,
        tag="access",
    ),
    Endpoint(
        "GET",
        "/v1/principals/<kind>/<name>/policy-versions",
        "Every change to an identity's policies: when, by whom, why",
        list_versions_of_principal,
        Action.GET_PRINCIPAL_POLICY,
        query=QUERY,
        tag="access",
    ),
)
