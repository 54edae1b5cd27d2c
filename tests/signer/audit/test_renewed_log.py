"""A log that is over, and the next one in the same database: by the real HSM and the real ceremony."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystore import open_keystore
from keystore.ceremony import initialise, renew_log
from keystore.errors import IntegrityFailure
from signer.audit.records import rows_entry
from signer.audit.sequencer import Sequencer
from tests.databases import copy, init_options

if TYPE_CHECKING:
    from pathlib import Path


def test_a_database_that_was_put_back_signs_nothing_until_another_log_is_begun(tmp_path: Path) -> None:
    state = initialise(tmp_path / "state", init_options(tmp_path / "state")).state
    keystore = open_keystore(state.path)
    Sequencer(keystore.database, keystore.log).append([], proved=True)
    former = keystore.log.origin
    keystore.close()
    copy(state.database, tmp_path / "backup.db")
    keystore = open_keystore(state.path)
    sequencer = Sequencer(keystore.database, keystore.log)
    sequencer.append([rows_entry(1, bytes(32), time=0)], proved=True)
    sequencer.keep()
    seen = sequencer.size
    keystore.close()
    copy(tmp_path / "backup.db", state.database)

    keystore = open_keystore(state.path)
    with pytest.raises(IntegrityFailure, match=f"the HSM keeps the head of {seen} leaves; the database is behind"):
        Sequencer(keystore.database, keystore.log)
    keystore.close()
    renew_log(state.path, state.officer_pin.read_bytes().strip())
    keystore = open_keystore(state.path)
    renewed = Sequencer(keystore.database, keystore.log)
    assert keystore.log.origin != former
    assert renewed.log == 2
    logged = renewed.append([], proved=True)
    assert (logged.checkpoint or "").startswith(f"{keystore.log.origin}\n")
    renewed.keep()
    assert keystore.log.kept_head().size == renewed.size
    keystore.close()
