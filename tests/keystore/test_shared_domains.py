"""A domain of multi-region keys carried from one region to another: the ceremony, its refusals, rotation, restore."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystore import open_keystore
from keystore.api import MultiRegion
from keystore.carried import FirstReplica
from keystore.ceremony import (
    RestoreOptions,
    adopt_domain,
    create_domain,
    export_domain,
    initialise,
    restore,
    rotate_domain,
)
from keystore.errors import CeremonyError
from tests.databases import init_options
from tests.keystore.support import POLICY, intent_for, new_key

if TYPE_CHECKING:
    from pathlib import Path

    from keystore.configuration import StateDirectory


def pin(state: StateDirectory) -> bytes:
    return state.officer_pin.read_bytes().strip()


def shares(state: StateDirectory, *numbers: int) -> list[str]:
    return [state.share(number).read_text(encoding="utf-8") for number in numbers]


def replicate(first: StateDirectory, second: StateDirectory) -> str:
    """A key of the first region, and its replica in the second."""
    here = open_keystore(first.path)
    key = here.create_key(replace(new_key(), multi_region=MultiRegion("")))
    carried = replace(here.regions.carried(key), multi_region=MultiRegion("us-east-1", ("eu-west-1",)))
    here.close()
    there = open_keystore(second.path)
    there.replicas.make(carried, 1, FirstReplica(POLICY, "role/link"), None, lambda: None)
    there.replicas.update(carried, "us-east-1", 2, None)
    there.close()
    return key.id


def signs(state: StateDirectory, key_id: str, label: str) -> bytes:
    """Signs there, with the key under that domain key; what the link key says of a word."""
    keystore = open_keystore(state.path)
    key = keystore.get_key(key_id)
    assert key.versions[0].backing.domain_label == label
    keystore.signing_key(intent_for(key)).sign(b"message")
    sealed = keystore.regions.sealed("global", b"word")
    keystore.store.verify_everything()
    keystore.close()
    return sealed


@pytest.mark.sqlite_only("a restore is made of a copy of an SQLite file")
def test_a_domain_is_carried_rotated_carried_again_and_restored(tmp_path: Path) -> None:
    first, second = (
        initialise(tmp_path / region, init_options(tmp_path / region, region=region)).state
        for region in ("us-east-1", "eu-west-1")
    )
    file, newer = tmp_path / "1.domain", tmp_path / "2.domain"
    create_domain(first.path, "global", pin(first), multi_region=True)
    assert export_domain(first.path, "global", pin(first), file) == 1
    own = shares(first, 1, 2, 3)
    refused = (
        ("3 different ones are needed", lambda: adopt_domain(second.path, file, shares(first, 1, 2), pin(second))),
        (
            "not wrapped by this region key",
            lambda: adopt_domain(second.path, file, shares(second, 1, 2, 3), pin(second)),
        ),
        ("refuses the security officer's PIN", lambda: adopt_domain(second.path, file, own, b"0" * 48)),
        ("as this deployment", lambda: adopt_domain(first.path, file, own, pin(first))),
        ("keys of this region alone", lambda: export_domain(first.path, "default", pin(first), newer)),
        ("is there already", lambda: export_domain(first.path, "global", pin(first), file)),
    )
    for words, ceremony in refused:
        with pytest.raises(CeremonyError, match=words):
            ceremony()
    assert adopt_domain(second.path, file, own, pin(second)).version == 1
    key_id = replicate(first, second)
    assert signs(first, key_id, "domain/global/1") == signs(second, key_id, "domain/global/1")
    with pytest.raises(CeremonyError, match="rotate it there"):
        rotate_domain(second.path, "global", pin(second))
    with pytest.raises(CeremonyError, match="export it there"):
        export_domain(second.path, "global", pin(second), newer)
    assert rotate_domain(first.path, "global", pin(first)) == 2
    export_domain(first.path, "global", pin(first), newer)
    assert adopt_domain(second.path, newer, own, pin(second)).version == 2
    for path, words in ((newer, "is here already"), (file, "version 2 is here")):
        with pytest.raises(CeremonyError, match=words):
            adopt_domain(second.path, path, own, pin(second))
    assert signs(first, key_id, "domain/global/2") == signs(second, key_id, "domain/global/2")
    # From now on the second region's own custodians bring it back.
    restored = restore(tmp_path / "third", second.database, shares(second, 2, 4, 5), RestoreOptions()).state
    assert signs(restored, key_id, "domain/global/2") == signs(first, key_id, "domain/global/2")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    state = initialise(tmp_path / "state", init_options(tmp_path / "state", region="eu-west-1")).state
    file = tmp_path / "some.domain"
    for text in ("", "{}", "[]", '{"format": "sealmark-domain/1"}', "x" * 20_000):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(CeremonyError, match=r"some\.domain"):
            adopt_domain(state.path, file, shares(state, 1, 2, 3), pin(state))
