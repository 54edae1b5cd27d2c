"""Merkle proofs against a tree built by the recursive definitions, and against the known roots of others."""

from __future__ import annotations

import pytest

from tests.verifier.log_builder import LogBuilder
from verifier import Rejected, merkle

# The leaves and roots by which implementations of RFC 6962 are tested (google/certificate-transparency, merkle tests).
KNOWN_LEAVES = tuple(
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
)
KNOWN_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
LOG = LogBuilder([b"leaf %d" % number for number in range(40)])
SIZES = range(LOG.size + 1)
OTHER = b"\x99" * 32


def root_from(index: int, size: int, proof: list[bytes], entry: bytes | None = None) -> bytes | None:
    """The root that a proof leads to, None where it is refused."""
    try:
        found = LOG.leaves[index] if entry is None else entry
        return merkle.root_from_inclusion(merkle.leaf_hash(found), index, size, proof)
    except Rejected:
        return None


def continues(
    first: int, second: int, proof: list[bytes], *, old: bytes | None = None, new: bytes | None = None
) -> bool:
    try:
        merkle.require_consistent(first, old or LOG.root(first), second, new or LOG.root(second), proof)
    except Rejected:
        return False
    return True


def test_the_code_of_the_refusals() -> None:
    with pytest.raises(Rejected) as inclusion:
        merkle.root_from_inclusion(OTHER, 0, 1, [OTHER])
    with pytest.raises(Rejected) as consistency:
        merkle.require_consistent(1, OTHER, 2, OTHER, [OTHER])
    assert inclusion.value.code == consistency.value.code == "log_proof_invalid"


@pytest.mark.parametrize("size", range(9))
def test_the_known_roots(size: int) -> None:
    log = LogBuilder(KNOWN_LEAVES)
    assert log.root(size).hex() == KNOWN_ROOTS[size]
    for index in range(size):
        leaf = merkle.leaf_hash(KNOWN_LEAVES[index])
        assert merkle.root_from_inclusion(leaf, index, size, log.inclusion(index, size)).hex() == KNOWN_ROOTS[size]
    assert KNOWN_ROOTS[0] == merkle.EMPTY_ROOT.hex()


def test_every_inclusion() -> None:
    for size in SIZES:
        for index in range(size):
            assert root_from(index, size, LOG.inclusion(index, size)) == LOG.root(size)


def test_an_inclusion_is_of_one_leaf_at_one_place_of_one_size() -> None:
    for size in SIZES:
        for index in range(size):
            proof, root = LOG.inclusion(index, size), LOG.root(size)
            assert root_from(index, size, proof, b"another") != root
            for other in range(size):
                assert other == index or root_from(other, size, proof) != root
            assert root_from(index, size, [*proof, OTHER]) is None
            if proof:
                assert root_from(index, size, proof[:-1]) is None
                assert root_from(index, size, proof[1:]) != root
            for place in range(len(proof)):
                assert root_from(index, size, [*proof[:place], OTHER, *proof[place + 1 :]]) not in (None, root)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, -1), (4, 3), (0, 2**63), (2**63, 2**63 + 1)])
def test_places_that_no_tree_has(index: int, size: int) -> None:
    with pytest.raises(Rejected):
        merkle.root_from_inclusion(OTHER, index, size, [])


def test_the_largest_tree() -> None:
    """A hash for each of 63 levels, and not one more."""
    last = merkle.MAXIMUM_SIZE - 1
    assert merkle.root_from_inclusion(OTHER, 0, merkle.MAXIMUM_SIZE, [OTHER] * 63)
    # The last leaf of a tree of 2^63 - 1 stands alone at the lowest level: it has one fewer above it.
    assert merkle.root_from_inclusion(OTHER, last, merkle.MAXIMUM_SIZE, [OTHER] * 62)
    with pytest.raises(Rejected):
        merkle.root_from_inclusion(OTHER, 0, merkle.MAXIMUM_SIZE, [OTHER] * 64)


def test_every_consistency() -> None:
    for second in SIZES:
        for first in range(second + 1):
            assert continues(first, second, LOG.consistency(first, second))


def test_a_consistency_is_of_two_trees_only() -> None:
    for second in SIZES:
        for first in range(1, second + 1):
            proof = LOG.consistency(first, second)
            assert not continues(first, second, proof, old=OTHER)
            assert not continues(first, second, proof, new=OTHER)
            assert not continues(first, second, [*proof, OTHER])
            if proof:
                assert not continues(first, second, proof[:-1])
                assert not continues(first, second, [])
            for place in range(len(proof)):
                assert not continues(first, second, [*proof[:place], OTHER, *proof[place + 1 :]])
            assert first == second or not continues(second, first, proof)


def test_a_root_of_another_size_is_no_continuation() -> None:
    """The proof leads from the older root to the newer one, but the newer tree is not as large as it is said to be."""
    assert continues(2, 4, LOG.consistency(2, 4))
    for claimed in (5, 8, 16, 40):
        assert not continues(2, claimed, LOG.consistency(2, 4), new=LOG.root(4))


def test_the_empty_log() -> None:
    assert continues(0, 7, [])
    assert continues(0, 0, [])
    assert not continues(0, 7, [OTHER])
    assert not continues(0, 7, [], old=OTHER)
    assert not continues(0, 0, [], new=OTHER)
    assert not continues(-1, 7, [], old=OTHER)


@pytest.mark.parametrize("wrong", [b"", b"\x99" * 31, b"\x99" * 33])
def test_hashes_of_another_length_are_refused(wrong: bytes) -> None:
    assert root_from(0, 2, [wrong]) is None
    with pytest.raises(Rejected):
        merkle.root_from_inclusion(wrong, 0, 1, [])
    assert not continues(1, 2, [wrong])
    assert not continues(2, 3, [], old=wrong or OTHER)


def test_leaves_and_nodes_are_kept_apart() -> None:
    """RFC 9162 section 2.1.1: else an inner node could pass for a leaf."""
    left, right = (merkle.leaf_hash(leaf) for leaf in LOG.leaves[:2])
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right) == LOG.root(2)
