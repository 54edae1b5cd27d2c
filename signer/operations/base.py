"""What the calls that use a key share: the subject they work on and the shape of their plan.

An operation turns a body into a plan, item by item, before anything is recorded or signed: an item that cannot be made
is known before the HSM is asked, and one bad item of a batch fails alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from keystore.lifecycle import USED_FROM, current_version, state_at
from signer.errors import Unprocessable, WrongPurpose, WrongState

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.algorithms import Purpose
    from keystore.api import Issuer, Key, KeyVersion
    from signer.access import Action
    from signer.access.model import ConditionValues

Output = dict[str, object]
_Item = TypeVar("_Item")
_Body = TypeVar("_Body", bound=msgspec.Struct)
_Used_contra = TypeVar("_Used_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Subject:
    """The key that a call is about, its signing version, and what its formats need of the published things."""

    key: Key
    version: KeyVersion
    now: datetime
    caller: str  # the authenticated principal's name
    request_id: str
    chain: Callable[[], tuple[bytes, ...]]  # the version's certificates, DER, leaf first
    issuer: Callable[[str], Issuer]  # by name


@dataclass(frozen=True, slots=True)
class Prepared:
    """One item, checked: the algorithm to open the key with, and what makes the output once it is open.

    `make` takes the key as the purpose's protocol in `keystore.api` has it (a `SigningKey`, an `EncryptionKey` ...),
    or None where it `needs_no_key`: what is done with the published half alone. `about` is what the record says of it
    besides its signatures, `artifact_digest` the digest of the file, if any. `digest` is given where all that `make`
    makes is the `signature` over this digest: many such items are signed together.
    """

    algorithm: str
    make: Callable[[Any], Output]
    about: Mapping[str, object] | None = None
    artifact_digest: bytes | None = None
    needs_no_key: bool = False
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All items in the order asked; an `Unprocessable` stands where an item cannot be made.

    `secret`: question or answer hold what must not be kept, nor its hash, to answer the same again.
    """

    items: Sequence[Prepared | Unprocessable]
    single: bool  # a fault of the one item is then a fault of the call
    context: dict[str, str] | None = None
    dry_run: bool = False  # the caller asks only whether it might
    secret: bool = False


class Operation(Protocol[_Body]):
    """One call that uses a key."""

    @property
    def action(self) -> Action: ...
    @property
    def purpose(self) -> Purpose: ...
    @property
    def body_type(self) -> type[_Body]: ...
    def details(self, key: Key, body: _Body) -> Sequence[ConditionValues]:
        """What policies may ask of this request, one mapping for each different item. Never raises: a request that
        cannot be made at all is found out by `plan`."""
        ...

    def version(self, key: Key, body: _Body | None, now: datetime) -> KeyVersion:
        """Which version of the key is used; without a body: which one it would be as a rule."""
        ...

    def plan(self, subject: Subject, body: _Body) -> Plan: ...


class OfActiveVersion:
    """An operation that uses the version which is active now."""

    def version(self, key: Key, _body: Any, now: datetime) -> KeyVersion:  # noqa: ANN401 - of whatever operation
        """Raises `WrongState` where all are revoked."""
        return current_version(key.versions, now)


class UseOfKey(Protocol[_Used_contra]):
    """What a version is chosen for."""

    @property
    def action(self) -> Action: ...
    @property
    def purpose(self) -> Purpose: ...
    def version(self, key: Key, body: _Used_contra, now: datetime) -> KeyVersion: ...


def usable_version(operation: UseOfKey[_Used_contra], key: Key, body: _Used_contra, now: datetime) -> KeyVersion:
    """The version that would be used. Raises `WrongPurpose`, `WrongState`: what keeps a call that is allowed from being
    carried out at all."""
    if key.purpose is not operation.purpose:
        msg = f"this key is for {key.purpose}; {operation.action} needs a key for {operation.purpose}"
        raise WrongPurpose(msg)
    state = state_at(key, now)
    if state not in USED_FROM:
        msg = f"the key is {state.replace('_', ' ')}"
        raise WrongState(msg, state=state.value)
    return operation.version(key, body, now)


def prepare_each(items: Sequence[_Item], prepare: Callable[[_Item, int], Prepared]) -> list[Prepared | Unprocessable]:
    """Prepares every item; a refusal takes the item's place."""
    prepared: list[Prepared | Unprocessable] = []
    for position, item in enumerate(items):
        try:
            prepared.append(prepare(item, position))
        except Unprocessable as refusal:
            prepared.append(refusal)
    return prepared


def either_items_or_one(items: Sequence[object] | None, one: Mapping[str, object]) -> None:
    """A call has `items` or the members of one item, never both. `one` maps member to value."""
    given = [name for name, value in one.items() if value is not None]
    if items is not None and given:
        msg = f"give either `items` or the members of one item, not both (found {', '.join(given)})"
        raise Unprocessable(msg, field=given[0])
