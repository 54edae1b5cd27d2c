"""What the tests of policies share: one account, one key, short ways to write documents and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access.documents import parse_identity_policy, parse_key_policy
from signer.access.model import AccessRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.access.model import Document

ACCOUNT: Final = "111122223333"
KEY: Final = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROOT: Final = f"arn:aws:iam::{ACCOUNT}:root"
CI: Final = "role/ci"
ANN: Final = "user/ann"

Json = dict[str, object]


def statement(**elements: object) -> Json:
    """A statement of a key policy that allows role/ci to sign, with some elements replaced (None: left out)."""
    default: Json = {"Effect": "Allow", "Principal": {"AWS": CI}, "Action": "kms:Sign", "Resource": "*"}
    if "NotPrincipal" in elements:
        del default["Principal"]
    return {name: value for name, value in {**default, **elements}.items() if value is not None}


def deny(**elements: object) -> Json:
    return statement(Effect="Deny", **elements)


def key_policy(*statements: Json) -> Document:
    return parse_key_policy({"Version": "2012-10-17", "Statement": list(statements)}, account=ACCOUNT)


def delegation(**elements: object) -> Json:
    return statement(Principal={"AWS": ROOT}, **{"Action": "kms:*", **elements})


def identity_policy(*statements: Json) -> Document:
    without = [{name: value for name, value in entry.items() if name != "Principal"} for entry in statements]
    return parse_identity_policy({"Version": "2012-10-17", "Statement": without})


def request(
    principal: str = CI,
    action: str = "kms:Sign",
    resource: str = KEY,
    context: Mapping[str, tuple[str, ...]] | None = None,
) -> AccessRequest:
    return AccessRequest(principal, ACCOUNT, action, resource, context or {})
