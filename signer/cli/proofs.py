"""Where the log's proofs of signatures go: FILE.tlog-proof beside the file, one for all signatures of one call.

A later call that adds a signature has a proof of its own. Where FILE.tlog-proof proves others that are kept, the new
one is SIGNATURE.tlog-proof, such as app.bin.sig.tlog-proof. No proof is written over unless its signatures are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from signer.cli.client import Json, text_member
from signer.cli.files import refuse_existing, write_whole

SUFFIX = ".tlog-proof"


def proof_of(result: Json) -> str:
    """The proof that goes with a result. Raises: Unreachable where there is none."""
    return text_member(result, "proof")


def proof_beside(path: Path) -> Path:
    """The proof that bears this path's name."""
    return path.with_name(f"{path.name}{SUFFIX}")


def proof_targets(shared: Path, made: Sequence[Path], others: Iterable[Path], *, replace: bool) -> list[Path]:
    """Where the proof of the signatures `made` goes; `shared` is FILE.tlog-proof, `others` are signatures of the same
    file that are kept as they are.

    Raises: CommandFailed (exists) where a proof is in the way of a new signature.
    """
    own = [proof_beside(path) for path in made]
    kept = any(os.path.lexists(path) for path in others)
    if not os.path.lexists(shared) or (replace and not kept):
        # An older proof of a signature that is made anew must not be taken for its proof.
        stale = [path for path in own if os.path.lexists(path)]
        if not replace:
            _refuse(stale)
        return [shared, *stale]
    if not replace:
        _refuse(own)
    return own


def write_proof(proof: str, targets: Sequence[Path], *, replace: bool) -> None:
    """Writes the proof to each target. Raises: CommandFailed where one cannot be written."""
    for target in targets:
        write_whole(target, proof.encode(), replace=replace)


def has_proof(shared: Path, signatures: Iterable[Path]) -> bool:
    """Whether signatures that are there already have a proof beside them, by one name or the other."""
    return shared.is_file() or all(proof_beside(path).is_file() for path in signatures)


def _refuse(paths: Sequence[Path]) -> None:
    for path in paths:
        refuse_existing(path, "it proves a signature that is not there; nothing was signed; --force writes over it")
