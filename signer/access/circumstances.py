"""What conditions may ask of a call: who, from where, when, on which key, and what exactly is asked for.

A mapping from condition key (lower case) to its values, worked out only when a condition asks. What a call has not is
absent, as in AWS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from keystore.algorithms import KEY_USAGES
from signer.access.condition_keys import ENCRYPTION_CONTEXT, REQUEST_TAG, RESOURCE_TAG, SIGNING_CONTEXT
from signer.access.short_form import arn_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.api import Key
    from signer.access.model import ConditionValues
    from signer.authn.principal import Principal


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of a call before its body is looked at. `source` is the caller's address, as far as it has one."""

    account: str
    now: datetime
    source: str = ""
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances(Mapping[str, Sequence[str]]):
    """The condition values of one question. `details` are those of the request itself, by lower-case key."""

    principal: Principal
    key: Key | None
    surroundings: Surroundings
    details: ConditionValues = field(default_factory=dict)

    def __getitem__(self, name: str) -> Sequence[str]:
        found = self.details.get(name)
        if found is None:
            known = _KNOWN.get(name)
            found = self._tag(name) if known is None else known(self)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        tags = () if self.key is None else (f"{RESOURCE_TAG}{name}" for name in self.key.tags)
        return iter({*self.details, *(name for name in _KNOWN if name in self), *tags})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _tag(self, name: str) -> Sequence[str] | None:
        if self.key is None or not name.startswith(RESOURCE_TAG):
            return None
        value = self.key.tags.get(name.removeprefix(RESOURCE_TAG))
        return None if value is None else (value,)


def signing_context(context: Mapping[str, str] | None) -> dict[str, Sequence[str]]:
    """The condition values of a call's context: one for each member, and the names of all of them."""
    if not context:
        return {}
    members: dict[str, Sequence[str]] = {f"{SIGNING_CONTEXT}{name}": (value,) for name, value in context.items()}
    return members | {"sealmark:signingcontextkeys": tuple(context)}


def requested_tags(tags: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """The condition values of the tags that a request sets (AWS global condition keys aws:RequestTag, aws:TagKeys)."""
    values: dict[str, Sequence[str]] = {f"{REQUEST_TAG}{name}": (value,) for name, value in tags.items()}
    return values | {"aws:tagkeys": tuple(tags)} if tags else values


def encryption_context(context: Mapping[str, str] | None) -> dict[str, Sequence[str]]:
    """The condition values of an encryption context: one for each member, and the names of all of them."""
    if not context:
        return {}
    members: dict[str, Sequence[str]] = {f"{ENCRYPTION_CONTEXT}{name}": (value,) for name, value in context.items()}
    return members | {"kms:encryptioncontextkeys": tuple(context)}


def _address(self: Circumstances) -> Sequence[str] | None:
    try:
        address = ipaddress.ip_address(self.surroundings.source)
    except ValueError:
        return None  # a Unix socket, or the service itself
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (str(mapped or address),)


def _of_key(read: Callable[[Key], Sequence[str] | None]) -> Callable[[Circumstances], Sequence[str] | None]:
    return lambda self: None if self.key is None else read(self.key)


def _multi_region_key_type(key: Key) -> tuple[str] | None:
    if key.multi_region is None:
        return None
    return ("PRIMARY" if key.multi_region.primary_region == key.arn.split(":")[3] else "REPLICA",)


_KNOWN: Final[Mapping[str, Callable[[Circumstances], Sequence[str] | None]]] = {
    "aws:principalarn": lambda self: (arn_of(self.principal.name, self.surroundings.account),),
    "aws:principalaccount": lambda self: (self.surroundings.account,),
    "aws:principaltype": lambda self: ("User" if self.principal.name.startswith("user/") else "AssumedRole",),
    "aws:username": lambda self: (
        (self.principal.name.removeprefix("user/"),) if self.principal.name.startswith("user/") else None
    ),
    "aws:sourceip": _address,
    "aws:currenttime": lambda self: (self.surroundings.now.strftime("%Y-%m-%dT%H:%M:%SZ"),),
    "aws:epochtime": lambda self: (str(int(self.surroundings.now.timestamp())),),
    "aws:securetransport": lambda self: ("true" if self.surroundings.secure else "false",),
    "kms:calleraccount": lambda self: (self.surroundings.account,),
    "kms:keyspec": _of_key(lambda key: (key.spec,)),
    "kms:keyusage": _of_key(lambda key: (KEY_USAGES[key.purpose],)),
    "kms:keyorigin": _of_key(lambda key: (key.origin.value,)),
    "kms:resourcealiases": _of_key(lambda key: tuple(f"alias/{alias}" for alias in key.aliases) or None),
    "kms:multiregion": _of_key(lambda key: ("false" if key.multi_region is None else "true",)),
    "kms:multiregionkeytype": _of_key(_multi_region_key_type),
    "sealmark:purpose": _of_key(lambda key: (key.purpose.value,)),
    "sealmark:credentialkind": lambda self: (self.principal.kind.value,),
    "sealmark:duty": lambda self: (self.principal.duty.value,),
}
