"""What a new key may be: the closed table and the operator's configuration decide, before the HSM is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.algorithms import (
    KEY_SPECS,
    NOT_OFFERED,
    PURPOSES,
    SOFTWARE_ONLY,
    Origin,
    Protection,
    Purpose,
    algorithms_for,
)
from keystore.aliases import check_alias
from keystore.api import AssertionSettings, TokenSettings
from keystore.errors import LimitExceeded, Unsupported
from keystore.importable import check_importable
from keystore.tags import MOST_TAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import NewKey


def check_new_key(new: NewKey, software_specs: Sequence[str] = ()) -> tuple[str, Protection]:
    """The algorithm and the protection that the key will have. Raises `Unsupported`, which names the member at
    fault."""
    if new.spec in NOT_OFFERED:
        raise Unsupported(f"{new.spec} is not offered: {NOT_OFFERED[new.spec]}", field="spec")
    if new.spec not in KEY_SPECS:
        raise Unsupported(f"there is no key spec {new.spec!r}", field="spec")
    if new.spec not in PURPOSES[new.purpose]:
        raise Unsupported(f"a key for {new.purpose} cannot be {new.spec}", field="spec")
    protection = _protection(new, software_specs)
    if new.origin is Origin.EXTERNAL:
        check_importable(new.spec, new.purpose, protection)
        if new.published:
            raise Unsupported("a key that has no material yet cannot be published", field="published")
    algorithms = algorithms_for(new.purpose, new.spec, protection)
    algorithm = new.algorithm or algorithms[0]
    if algorithm not in algorithms:
        raise Unsupported(f"a {new.spec} key for {new.purpose} has one of {list(algorithms)}", field="algorithm")
    if new.published and not KEY_SPECS[new.spec].has_public_key:
        raise Unsupported("a secret key has no public half to publish", field="published")
    if new.formats and new.purpose is not Purpose.ARTIFACT:
        raise Unsupported("only an artifact key has formats", field="formats")
    expected = {Purpose.JWT: TokenSettings, Purpose.SAML: AssertionSettings}.get(new.purpose, type(None))
    if not isinstance(new.settings, expected):
        raise Unsupported(f"a key for {new.purpose} has other settings than these", field="settings")
    if new.alias is not None:
        check_alias(new.alias)
    if len(new.tags) > MOST_TAGS:
        raise LimitExceeded(f"a key has at most {MOST_TAGS} tags")
    return algorithm, protection


def _protection(new: NewKey, software_specs: Sequence[str]) -> Protection:
    """What the configuration allows and the request insists on."""
    listed = new.spec in software_specs
    if new.spec in SOFTWARE_ONLY and not listed:
        raise Unsupported(
            f"the HSM has no {new.spec} keys; keys in software are allowed by the operator alone, spec by spec: "
            "[keys] software_specs in sealmark.toml",
            field="spec",
        )
    wanted = new.protection or (Protection.SOFTWARE if listed else Protection.HSM)
    if wanted is Protection.SOFTWARE and not listed:
        raise Unsupported(
            f"{new.spec} keys in software are not allowed here: [keys] software_specs in sealmark.toml does not list "
            "the spec",
            field="protection",
        )
    if wanted is Protection.HSM and new.spec in SOFTWARE_ONLY:
        raise Unsupported(f"the HSM has no {new.spec} keys", field="protection")
    return wanted
