"""What AWS refuses for a key's state, and in which words (AWS KMS Developer Guide, "Key states of AWS KMS keys")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.api import KeyState
from keystore.lifecycle import LABELLED_IN
from signer.errors import WrongState

if TYPE_CHECKING:
    from keystore.api import Key


def require_state(key: Key, *allowed: KeyState) -> None:
    """Raises `WrongState`, which is a `DisabledException` of a disabled key, else a `KMSInvalidStateException`."""
    if key.state not in allowed:
        msg = f"{key.arn} is {key.state.value.replace('_', ' ')}."
        raise WrongState(msg, state=key.state.value)


def require_labelled(key: Key) -> None:
    """For changes of labels, which a key takes until it is to be deleted. Raises `WrongState`."""
    require_state(key, *LABELLED_IN)


def require_enabled(key: Key) -> None:
    """For what only an enabled key does. Raises `WrongState`."""
    require_state(key, KeyState.ENABLED)
