"""One statement over many files: signed for all of them or for none, in one call and with one signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from signer.cli.client import Client
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.files import write_whole
from signer.cli.proofs import SUFFIX, has_proof, proof_of, proof_targets, write_proof
from signer.cli.results import only_result
from signer.cli.signing import (
    BATCH_ITEMS,
    OVER_STATEMENT,
    SUFFIXES,
    Job,
    Order,
    Outcome,
    Prepared,
    Progress,
    Scene,
    made_signatures,
    prepare,
    require_same,
    set_scene,
    version_of,
)
from signer.cli.verification import ArtifactFormat


def sign_one_statement(
    client: Client,
    order: Order,
    jobs: Sequence[Job],
    targets: Mapping[ArtifactFormat, Path],
    progress: Progress,
    shared_proof: Path | None,
) -> list[Outcome]:
    """Sign one statement over all files into `targets`; `shared_proof` is where the log's proof goes.

    Raises: CommandFailed for what is wrong with one of them.
    """
    if len(jobs) > BATCH_ITEMS:
        message = f"one statement holds at most {BATCH_ITEMS} files: make several"
        raise CommandFailed(message, code="too_many_files")
    scene = set_scene(client, order)
    prepared = [prepare(scene, job, progress) for job in jobs]
    missing = _missing(scene, prepared, targets)
    if not missing:
        unproved = shared_proof is not None and not has_proof(shared_proof, targets.values())
        return [Outcome(job.file, targets, {}, skipped=True, unproved=unproved) for job in jobs]
    proofs = () if shared_proof is None else _proof_targets(order, shared_proof, missing, targets)
    body = order.body([item.artifact for item in prepared], missing) | {"statement": "one"}
    result = only_result(client.post_signing(f"/v1/keys/{order.key}/artifacts", body))
    names = _names(prepared)
    if result.get("names") != list(names):
        raise Unreachable("the answer is for other files")
    signatures = made_signatures(result, missing)
    proof = proof_of(result) if proofs else None
    # The files are read again: what was hashed before the call may have changed since.
    for item in [prepare(scene, job, Progress(lambda _: None, lambda _: None)) for job in jobs]:
        for name, signature in signatures.items():
            scene.judge.check(item.digests, signature, name, version=version_of(result), names=names, proof=proof)
        progress.done(1)
    for name, signature in signatures.items():
        write_whole(targets[name], signature, replace=order.replace)
    if proof is not None:
        write_proof(proof, proofs, replace=order.replace)
    return [Outcome(job.file, targets, result, proofs=proofs) for job in jobs]


def _proof_targets(
    order: Order, shared: Path, missing: Sequence[ArtifactFormat], targets: Mapping[ArtifactFormat, Path]
) -> tuple[Path, ...]:
    """Where the proof goes. Raises: CommandFailed (exists) where one is in the way."""
    made = [targets[name] for name in missing]
    base = shared.name.removesuffix(SUFFIX)
    others = [shared.with_name(f"{base}{SUFFIXES[name]}") for name in OVER_STATEMENT]
    kept = [path for path in others if path not in made]
    return tuple(proof_targets(shared, made, kept, replace=order.replace))


def _missing(
    scene: Scene, prepared: Sequence[Prepared], targets: Mapping[ArtifactFormat, Path]
) -> tuple[ArtifactFormat, ...]:
    """The formats that are not there yet as they would be made now. Raises: CommandFailed (exists)."""
    if scene.order.replace:
        return scene.order.formats
    missing = []
    for name, target in targets.items():
        if not (target.is_symlink() or target.exists()):
            missing.append(name)
            continue
        for item in prepared:
            require_same(scene, target, name, item.digests, _names(prepared))
    return tuple(missing)


def _names(prepared: Sequence[Prepared]) -> tuple[str, ...]:
    return tuple(item.job.file.name for item in prepared)
