"""The custodians' shares: enough bring the secret back; fewer or wrong ones are refused without a word of theirs."""

from __future__ import annotations

from itertools import combinations

import pytest

from keystore.errors import CeremonyError
from keystore.shares import combine, split

SECRET = bytearray(range(32))


def test_any_three_of_five_bring_it_back() -> None:
    shares = split(SECRET, custodians=5, threshold=3)
    assert len(set(shares)) == 5
    for chosen in combinations(shares, 3):
        assert combine(chosen) == SECRET
    assert combine(shares) == SECRET
    assert combine([f"  {share.replace(' ', chr(10))}\n" for share in shares[2:]]) == SECRET


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_are_refused(count: int) -> None:
    shares = split(SECRET, custodians=5, threshold=3)
    with pytest.raises(CeremonyError, match=f"{count} custodians' shares were given, 3 different ones are needed"):
        combine(shares[:count])
    with pytest.raises(CeremonyError, match="3 different ones are needed"):
        combine([*shares[:count], *shares[:count], shares[0]])


def test_shares_of_different_ceremonies() -> None:
    first, second = (split(SECRET, custodians=3, threshold=2) for _ in range(2))
    with pytest.raises(CeremonyError, match="different ceremonies"):
        combine([first[0], second[1]])


def test_a_mistyped_share_is_named_by_its_place_and_not_shown() -> None:
    shares = list(split(SECRET, custodians=3, threshold=2))
    words = shares[1].split()
    words[10], words[11] = words[11], words[10]
    for text in (" ".join(words), shares[1][:-3], "secretword " * 33, ""):
        with pytest.raises(CeremonyError, match="share 2 of those given") as caught:
            combine([shares[0], text])
        assert not set(str(caught.value).split()) & set(words)
        assert "secretword" not in str(caught.value)


def test_none() -> None:
    with pytest.raises(CeremonyError, match="no custodian's share"):
        combine([])


@pytest.mark.parametrize(("custodians", "threshold"), [(1, 1), (3, 1), (3, 4), (17, 3), (0, 0)])
def test_schemes_refused(custodians: int, threshold: int) -> None:
    with pytest.raises(CeremonyError, match="custodians"):
        split(SECRET, custodians=custodians, threshold=threshold)


def test_another_length_is_no_region_key() -> None:
    shares = split(SECRET, custodians=2, threshold=2)
    assert combine(shares) == SECRET
    from shamir_mnemonic import generate_mnemonics

    with pytest.raises(CeremonyError, match="not of a region key"):
        combine(generate_mnemonics(1, [(2, 2)], b"s" * 16)[0])
