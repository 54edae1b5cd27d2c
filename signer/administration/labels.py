"""What a key is called and labelled with: aliases, tags, its description. Policies may ask for the first two."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from keystore.algorithms import KEY_SPECS, KeyKind
from keystore.aliases import check_alias
from keystore.errors import Conflict as Taken
from keystore.errors import NotFound as NoSuchRow
from keystore.tags import MOST_TAGS
from signer.access import Action
from signer.access.approvals import requirements_for
from signer.errors import ApprovalRequired, Conflict, NotFound, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keystore.aliases import AliasRecord
    from keystore.api import Key
    from keystore.keystore import Keystore

NO_SUCH_ALIAS: Final = "there is no such alias of this key"
# In any case of their letters: AWS's (AWS General Reference, "Tagging AWS resources"), and the service's own words.
RESERVED_TAGS: Final = ("aws:", "sealmark:")
_LONGEST_TAG: Final = 128
_LONGEST_TAG_VALUE: Final = 256
_TAG_MARKS: Final = frozenset("_.:/=+-@")
_SECRET_KINDS: Final = (KeyKind.AES, KeyKind.HMAC)


class LabelAdministration:
    """Every change of a label; each is called once the caller is permitted to make it."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def find_alias(self, name: str) -> AliasRecord:
        """The alias, if it names a key. Raises `NotFound`."""
        found = self._keystore.find_alias(name)
        if found is None:
            raise NotFound(NO_SUCH_ALIAS, field="alias")
        return found

    def create_alias(self, key: Key, name: str) -> AliasRecord:
        """A further name of the key. Raises: `Conflict`; `Unsupported`, `WrongState`, `LimitExceeded` of the
        keystore."""
        check_alias(name)
        try:
            return self._keystore.create_alias(name, key.id, self._keystore.clock())
        except Taken as taken:
            msg = f"the alias {name} is taken"
            raise Conflict(msg, field="alias") from taken

    def move_alias(self, name: str, present: Key, wanted: Key) -> AliasRecord:
        """Lets the alias of one key name another; the caller is permitted to for both.

        Raises: `Unprocessable` unless what uses the one could use the other; `ApprovalRequired` where approvers of the
        present key would not be asked; `NotFound`; `WrongState`, `LimitExceeded` of the keystore.
        """
        _require_alike(present, wanted)
        if present.id != wanted.id and requirements_for(Action.UPDATE_ALIAS, present.approval_rule):
            msg = (
                "the approval rule of the key that the alias names now holds this: take the alias away from that key, "
                "which its approvers release, and give it to the other one"
            )
            raise ApprovalRequired(msg)
        try:
            return self._keystore.move_alias(name, present.id, wanted.id, self._keystore.clock())
        except NoSuchRow as absent:
            raise NotFound(NO_SUCH_ALIAS, field="alias") from absent

    def delete_alias(self, key: Key, name: str) -> None:
        """Takes a name away from the key. Raises `NotFound`."""
        try:
            self._keystore.delete_alias(name, key.id, self._keystore.clock())
        except NoSuchRow as absent:
            raise NotFound(NO_SUCH_ALIAS, field="alias") from absent

    def tag(self, key: Key, tags: Mapping[str, str]) -> Key:
        """Adds tags or gives them other values. Raises: `Unprocessable`; `LimitExceeded`, `WrongState` of the
        keystore."""
        check_tags(tags)
        self._keystore.tag_key(key.id, tags)
        return self._keystore.get_key(key.id)

    def untag(self, key: Key, names: Iterable[str]) -> Key:
        """Takes tags away. Raises: `Unprocessable`; `WrongState` of the keystore."""
        names = list(names)
        check_tag_names(names)
        self._keystore.untag_key(key.id, names)
        return self._keystore.get_key(key.id)

    def describe(self, key: Key, description: str) -> Key:
        """Says something else of the key. Raises `WrongState` of the keystore."""
        self._keystore.set_description(key.id, description)
        return self._keystore.get_key(key.id)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises `Unprocessable` for names and values that AWS's tags cannot have, and for too many of them."""
    if len(tags) > MOST_TAGS:
        msg = f"a key has at most {MOST_TAGS} tags"
        raise Unprocessable(msg, field="tags")
    for name, value in tags.items():
        if not 1 <= len(name) <= _LONGEST_TAG or not _is_tag_text(name):
            msg = f"a tag's name is 1 to {_LONGEST_TAG} letters, digits, spaces and _ . : / = + - @"
            raise Unprocessable(msg, field="tags")
        if len(value) > _LONGEST_TAG_VALUE or not _is_tag_text(value):
            msg = f"a tag's value is at most {_LONGEST_TAG_VALUE} letters, digits, spaces and _ . : / = + - @"
            raise Unprocessable(msg, field="tags")
        _require_free(name)


def check_tag_names(names: Iterable[str]) -> None:
    """Raises `Unprocessable` for names that nobody takes away."""
    for name in names:
        _require_free(name)


def _is_tag_text(text: str) -> bool:
    return all(unicodedata.category(letter)[0] in "LNZ" or letter in _TAG_MARKS for letter in text)


def _require_free(name: str) -> None:
    if name.lower().startswith(RESERVED_TAGS):
        msg = f"tags whose names begin with {' or '.join(RESERVED_TAGS)} are reserved"
        raise Unprocessable(msg, field="tags")


def _require_alike(present: Key, wanted: Key) -> None:
    """What uses a key by its alias must find one that does the same (AWS KMS API Reference, UpdateAlias)."""
    kinds = [KEY_SPECS[key.spec].kind in _SECRET_KINDS for key in (present, wanted)]
    if present.purpose is not wanted.purpose or kinds[0] != kinds[1]:
        msg = (
            f"an alias is moved only between keys of one purpose, both with a public half or both without: this one "
            f"names a {present.spec} key for {present.purpose}, the other is a {wanted.spec} key for {wanted.purpose}"
        )
        raise Unprocessable(msg, field="alias")
