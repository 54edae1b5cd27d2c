"""Keys: made, described, disabled, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.call import Answer, Call
from signer.kms.metadata import key_metadata
from signer.kms.operation import KmsOperation
from signer.kms.references import administered, described
from signer.kms.shapes import GrantTokens, KeyId, Request
from signer.kms.translation import Translated
from signer.pipeline import present
from signer.request import Empty

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services


class DescribeKeyRequest(Request):
    """`DescribeKey`"""

    key_id: KeyId
    grant_tokens: GrantTokens | None = None


class KeyRequest(Request):
    """What names a key and nothing else."""

    key_id: KeyId


def describe_key(services: Services, call: Call) -> Answer:
    """`DescribeKey`"""

    def work(_permit: Permit, key: Key | None, _body: DescribeKeyRequest) -> Answer:
        return Answer({"KeyMetadata": key_metadata(present(key))})

    def reference(body: DescribeKeyRequest) -> str:
        return described(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.DESCRIBE_KEY, DescribeKeyRequest, work, reference)


def disable_key(services: Services, call: Call) -> Answer:
    """`DisableKey`"""
    asked = Translated(KeyRequest, lambda _request: Empty())

    def work(_permit: Permit, key: Key | None, _body: Empty) -> Answer:
        changed = services.keystore.disable(present(key).id)
        return Answer(None, recorded={"state": changed.state.value})

    def reference(_body: Empty) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(asked.of(call), Action.DISABLE_KEY, Empty, work, reference)


OPERATIONS: Final = (
    KmsOperation("DescribeKey", DescribeKeyRequest, describe_key, (Action.DESCRIBE_KEY,)),
    KmsOperation("DisableKey", KeyRequest, disable_key, (Action.DISABLE_KEY,)),
)
