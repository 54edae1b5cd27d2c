"""What goes in and out at `POST /`: the members are each operation's own, the refusals are of one form."""

from __future__ import annotations

import msgspec


class AwsMembers(msgspec.Struct):
    """The members of the operation that `X-Amz-Target` names: see the AWS KMS API Reference."""


class AwsFault(msgspec.Struct):
    """A refusal or a fault: AWS's name for it, and what is wrong in words."""

    kind: str = msgspec.field(name="__type")
    message: str
