"""The region key split among custodians (SLIP-39, https://github.com/satoshilabs/slips/blob/master/slip-0039.md). Pure.

Any `threshold` of the shares bring it back; fewer tell nothing about it. A share is a line of English words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.share import Share

from keystore.errors import CeremonyError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CUSTODIANS: Final = 16  # SLIP-39
_SECRET_SIZE: Final = 32  # octets


def check_scheme(custodians: int, threshold: int) -> None:
    """Raises: `CeremonyError` unless 2 <= threshold <= custodians <= 16."""
    if not 2 <= threshold <= custodians <= MOST_CUSTODIANS:
        raise CeremonyError(
            f"{threshold} of {custodians} custodians: take 2 to {MOST_CUSTODIANS}, and a threshold of 2 or more"
        )


def split(secret: bytearray, *, custodians: int, threshold: int) -> tuple[str, ...]:
    """One share per custodian. They are put together again before they are given out."""
    check_scheme(custodians, threshold)
    (shares,) = generate_mnemonics(1, [(threshold, custodians)], bytes(secret))
    if combine(shares[-threshold:]) != secret:
        raise CeremonyError("the custodians' shares do not give the region key back")
    return tuple(shares)


def combine(shares: Sequence[str]) -> bytearray:
    """The secret of enough shares of one set, in any order. No message says a word of a share.

    Raises: `CeremonyError` for too few, mistyped ones, or shares of different sets.
    """
    different = {share.index: share for share in (_parsed(number, text) for number, text in enumerate(shares, 1))}
    if not different:
        raise CeremonyError("no custodian's share was given")
    if len({share.group_parameters() for share in different.values()}) > 1:
        raise CeremonyError("the custodians' shares are of different ceremonies")
    threshold = next(iter(different.values())).member_threshold
    if len(different) < threshold:
        raise CeremonyError(f"{len(different)} custodians' shares were given, {threshold} different ones are needed")
    try:
        secret = bytearray(combine_mnemonics([share.mnemonic() for share in list(different.values())[:threshold]]))
    except MnemonicError as error:
        raise CeremonyError("the custodians' shares do not fit together") from error
    if len(secret) != _SECRET_SIZE:
        raise CeremonyError("the custodians' shares are not of a region key")
    return secret


def _parsed(number: int, text: str) -> Share:
    try:
        return Share.from_mnemonic(" ".join(text.split()))
    except MnemonicError:
        raise CeremonyError(f"custodian's share {number} of those given is mistyped or no share") from None
