"""Grant tokens: AWS gives one with a new grant, to use it at once before it is known everywhere.

Here a grant is in force at once, so a token opens nothing: one of ours is accepted, any other is refused. It says which
grant it came with, and so may retire it.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from keystore.keys import UUID_FORM
from signer.kms.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystore.access import GrantRecord
    from keystore.keystore import Keystore

_OURS: Final = "sealmark-grant:"


def token_of(grant: GrantRecord) -> str:
    """The token that comes with a grant."""
    return base64.urlsafe_b64encode(f"{_OURS}{grant.id}".encode()).decode()


def granted_by(token: str, keystore: Keystore) -> GrantRecord:
    """The grant that a token came with, ended or not. Raises `Refusal`: `InvalidGrantTokenException`."""
    try:
        told = base64.urlsafe_b64decode(token.encode("ascii")).decode()
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    grant_id = told.removeprefix(_OURS)
    found = keystore.find_grant(grant_id) if told.startswith(_OURS) and UUID_FORM.fullmatch(grant_id) else None
    if found is None or token_of(found) != token:
        raise _foreign()
    return found


def require_grant_tokens(tokens: Iterable[str] | None, keystore: Keystore) -> None:
    """That each is one of ours. Raises `Refusal`: `InvalidGrantTokenException`."""
    for token in tokens or ():
        granted_by(token, keystore)


def _foreign() -> Refusal:
    return Refusal("InvalidGrantTokenException", "Invalid grant token", field="grantTokens")
