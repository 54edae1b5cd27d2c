"""What AWS refuses for a key's state, and in which words (AWS KMS Developer Guide, "Key states of AWS KMS keys")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.api import KeyState
from keystore.lifecycle import LABELLED_IN, state_at
from signer.errors import WrongState

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import Key


def require_state(key: Key, now: datetime, *allowed: KeyState) -> None:
    """Raises `WrongState`, which is a `DisabledException` of a disabled key, else a `KMSInvalidStateException`."""
    state = state_at(key, now)
    if state not in allowed:
        msg = f"{key.arn} is {state.value.replace('_', ' ')}."
        raise WrongState(msg, state=state.value)


def require_labelled(key: Key, now: datetime) -> None:
    """For changes of labels, which a key takes until it is to be deleted. Raises `WrongState`."""
    require_state(key, now, *LABELLED_IN)


def require_enabled(key: Key, now: datetime) -> None:
    """For what only an enabled key does. Raises `WrongState`."""
    require_state(key, now, KeyState.ENABLED)
