"""Signing files: plan, hash here, skip what is signed already, ask in batches, verify, write.

The files themselves never leave this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from signer.cli.client import Client, Json, as_object, text_member
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.files import write_whole
from signer.cli.hashing import hash_file
from signer.cli.proofs import has_proof, proof_of, proof_targets, write_proof
from signer.cli.results import bytes_member, error_of, results_of
from signer.cli.verification import ArtifactFormat, Judge, Stated, given_trust, published_trust, with_published_logs

if TYPE_CHECKING:
    from verifier import FileDigests

SUFFIXES: Mapping[ArtifactFormat, str] = {
    "cms": ".p7s",
    "raw": ".sig",
    "bundle": ".sigstore.json",
    "dsse": ".intoto.jsonl",
    "attestation": ".intoto.sigstore.json",
}
OVER_STATEMENT: frozenset[ArtifactFormat] = frozenset({"dsse", "attestation"})
BATCH_ITEMS = 1000  # the service's limit
BATCH_BYTES = 900_000  # of artifacts in one body; the service takes 1 MiB in all
STATEMENT_BYTES = 4 * 1024 * 1024  # of predicates in one answer, the service's limit
_PROVENANCE_BYTES = 2048  # what SLSA provenance has beside the context, at most
_DIGESTS = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class Job:
    """One file to sign, where each of its signatures goes, and its digest if somebody has it already. `proof` is
    where the log's proof goes, None where none is wanted."""

    file: Path
    targets: Mapping[ArtifactFormat, Path]
    sha256: str | None = None
    proof: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: what was written, or why nothing was; `skipped` where it was signed already."""

    file: Path
    written: Mapping[ArtifactFormat, Path]
    result: Json
    error: CommandFailed | None = None
    skipped: bool = False
    proofs: tuple[Path, ...] = ()
    unproved: bool = False  # skipped, and without a proof beside it that is wanted

    def described(self) -> dict[str, object]:
        """The outcome as JSON-compatible values."""
        members: dict[str, object] = {"file": str(self.file)}
        if self.error is not None:
            return members | {"error": self.error.described()}
        members["signatures"] = {name: str(path) for name, path in self.written.items()}
        if self.proofs:
            members["proofs"] = [str(path) for path in self.proofs]
        if self.skipped:
            return members | {"skipped": True}
        return members | {name: self.result.get(name) for name in ("key_id", "key_version", "algorithm", "request_id")}


@dataclass(frozen=True, slots=True)
class Order:
    """What all files have in common."""

    key: str
    formats: tuple[ArtifactFormat, ...]
    replace: bool
    stated: Stated
    material: str | None = None
    trust: bytes | None = None  # the caller's own trust file
    proofs: bool = True  # whether the log's proofs are wanted

    def body(self, artifacts: Sequence[Json], formats: Sequence[ArtifactFormat]) -> dict[str, object]:
        """What is sent for some files."""
        body: dict[str, object] = {"artifacts": list(artifacts), "formats": list(formats)}
        if self.stated.context:
            body["context"] = dict(self.stated.context)
        if OVER_STATEMENT & set(formats) and self.stated.predicate is not None:
            body |= {"predicate_type": self.stated.predicate_type, "predicate": self.stated.predicate}
        if self.material is not None and {"bundle", "attestation"} & set(formats):
            body["material"] = self.material
        return body


@dataclass(frozen=True, slots=True)
class Progress:
    """Whom to tell: bytes that were hashed, files that are done."""

    hashed: Callable[[int], None]
    done: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that is hashed: its digests, and the formats that are still to be made."""

    job: Job
    digests: FileDigests
    formats: tuple[ArtifactFormat, ...]
    proofs: tuple[Path, ...] = ()

    @property
    def artifact(self) -> Json:
        """The file as the service is told of it."""
        digests = {name: digest.hex() for name, digest in self.digests.digests.items()}
        return {"name": self.job.file.name, "size": self.digests.size, "digests": digests}


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known of the key before anything is signed."""

    client: Client
    order: Order
    digest_names: tuple[str, ...]
    judge: Judge


def set_scene(client: Client, order: Order) -> Scene:
    """Looks the key up and fetches trust, once. Raises: CommandFailed where the key cannot do what is asked."""
    description = client.get(f"/v1/keys/{order.key}")
    digest_names = needed_digests(description, order)
    key_id = text_member(description, "id")
    if order.trust is not None:
        trust, by_key = given_trust(order.trust), None
        if order.proofs and not trust.logs:
            trust = with_published_logs(trust, client.get_bytes("/v1/trust"))
    else:
        if description.get("published") is False:
            # Its public key cannot be had, so nothing that it signs can be verified here before it is kept.
            message = f"key {order.key} is not published: its signatures cannot be verified; give --trust FILE"
            raise CommandFailed(message, code="not_published")
        trust, by_key = published_trust(client.get_bytes("/v1/trust"), key_id), key_id
    judge = Judge(trust, text_member(description, "algorithm"), order.stated, by_key)
    return Scene(client, order, digest_names, judge)


def sign_files(client: Client, order: Order, jobs: Sequence[Job], progress: Progress) -> list[Outcome]:
    """Sign all files; one outcome for each, in their order. A file that fails fails alone.

    Raises: CommandFailed where a signature that exists is not of its file, or the service turned away the very first
    call, so that nothing was signed.
    """
    scene = set_scene(client, order)
    outcomes: dict[Path, Outcome] = {}
    prepared = []
    for job in jobs:
        try:
            ready = prepare(scene, job, progress)
        except CommandFailed as failure:
            outcomes[job.file] = Outcome(job.file, {}, {}, failure)
            continue
        ready = _without_what_exists(scene, ready)
        if ready.formats:
            prepared.append(_with_proofs(scene, ready))
        else:
            unproved = job.proof is not None and not has_proof(job.proof, job.targets.values())
            outcomes[job.file] = Outcome(job.file, job.targets, {}, skipped=True, unproved=unproved)
            progress.done(1)
    stopped: CommandFailed | None = None
    for number, batch in enumerate(batches(order, prepared)):
        results: list[Json] = []
        if stopped is None:
            try:
                results = _ask(scene, batch)
            except CommandFailed as failure:
                if number == 0:
                    raise
                # What refuses one whole call refuses the next: what is already written stays, the rest is reported.
                stopped = failure
        for index, item in enumerate(batch):
            file = item.job.file
            outcomes[file] = Outcome(file, {}, {}, stopped) if stopped else _finish(scene, item, results[index])
            progress.done(1)
    return [outcomes[job.file] for job in jobs]


def needed_digests(description: Json, order: Order) -> tuple[str, ...]:
    """The digests to make, by the key's description. Raises: CommandFailed where the key cannot do what is asked.

    Over a digest the key signs its own hash; a statement names files by SHA-256, which every tool looks for.
    """
    purpose = text_member(description, "purpose")
    if purpose != "artifact":
        raise CommandFailed(
            f"key {order.key} is for {purpose}: files are signed with artifact keys", code="wrong_purpose"
        )
    makes = description.get("formats")
    for name in order.formats:
        made_as = "dsse" if name == "attestation" else name
        if isinstance(makes, list) and made_as not in makes:
            listed = ", ".join(str(each) for each in makes)
            raise CommandFailed(
                f"key {order.key} does not make {name}; it makes: {listed}", code="unprocessable", field="formats"
            )
    needed = ["sha256"] if OVER_STATEMENT & set(order.formats) else []
    if set(order.formats) - OVER_STATEMENT:
        digest = description.get("required_digest")
        if digest not in _DIGESTS:
            raise CommandFailed(f"key {order.key} does not sign digests of files", code="unprocessable")
        needed.append(str(digest))
    return tuple(dict.fromkeys(needed))


def prepare(scene: Scene, job: Job, progress: Progress) -> Prepared:
    """The job with the file's digests: read once, or not at all where a SHA256SUMS has all that is needed."""
    digests = hash_file(job.file, scene.digest_names, progress.hashed, sha256=job.sha256)
    return Prepared(job, digests, scene.order.formats)


def _without_what_exists(scene: Scene, ready: Prepared) -> Prepared:
    """Leaves out the formats whose signature is there and holds: a run that was cut short goes on where it stopped.

    Raises: CommandFailed (exists) for a file in the way that is no signature of this file as it would be made now.
    """
    if scene.order.replace:
        return ready
    missing = []
    for name in ready.formats:
        target = ready.job.targets[name]
        if not (target.is_symlink() or target.exists()):
            missing.append(name)
            continue
        require_same(scene, target, name, ready.digests, None)
    return Prepared(ready.job, ready.digests, tuple(missing))


def _with_proofs(scene: Scene, ready: Prepared) -> Prepared:
    """Says where the proof goes. Raises: CommandFailed (exists) where one is in the way."""
    job = ready.job
    if job.proof is None:
        return ready
    made = [job.targets[name] for name in ready.formats]
    others = [job.proof.with_name(f"{job.file.name}{suffix}") for suffix in SUFFIXES.values()]
    kept = [path for path in others if path not in made]
    return replace(ready, proofs=tuple(proof_targets(job.proof, made, kept, replace=scene.order.replace)))


def require_same(
    scene: Scene, target: Path, name: ArtifactFormat, digests: FileDigests, names: tuple[str, ...] | None
) -> None:
    """Pass if the file that exists is the signature that would be made. Raises: CommandFailed (exists)."""
    try:
        scene.judge.check(digests, target.read_bytes(), name, names=names)
    except (CommandFailed, OSError) as failure:
        reason = failure.message if isinstance(failure, CommandFailed) else failure.strerror
        message = f"{target} exists already and is not the signature wanted ({reason})"
        raise CommandFailed(f"{message}: nothing was signed; --force writes over it", code="exists") from failure


def batches(order: Order, prepared: Sequence[Prepared]) -> Iterator[list[Prepared]]:
    """As many files to a call as the service's limits allow; all of one call want the same formats."""
    groups: dict[tuple[ArtifactFormat, ...], list[Prepared]] = {}
    for item in prepared:
        groups.setdefault(item.formats, []).append(item)
    said = order.stated.context if order.stated.predicate is None else order.stated.predicate
    predicate = len(json.dumps(said, ensure_ascii=False).encode())
    room = BATCH_BYTES - (0 if order.stated.predicate is None else predicate)
    for formats, items in groups.items():
        most = BATCH_ITEMS
        if OVER_STATEMENT & set(formats):
            most = min(most, max(1, STATEMENT_BYTES // (predicate + _PROVENANCE_BYTES)))
        yield from _cut(items, most, room)


def _cut(items: Sequence[Prepared], most: int, room: int) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    size = 0
    for item in items:
        length = len(json.dumps(item.artifact, ensure_ascii=False).encode()) + 1
        if batch and (len(batch) == most or size + length > room):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


def _ask(scene: Scene, batch: Sequence[Prepared]) -> list[Json]:
    body = scene.order.body([item.artifact for item in batch], batch[0].formats)
    return results_of(scene.client.post_signing(f"/v1/keys/{scene.order.key}/artifacts", body), len(batch))


def _finish(scene: Scene, item: Prepared, result: Json) -> Outcome:
    """Turns a result into files: all signatures of a file are verified before the first of them is written."""
    job = item.job
    try:
        error = error_of(result)
        if error is not None:
            raise error
        if result.get("name") != job.file.name:
            raise Unreachable("the answer is for another file")
        signatures = made_signatures(result, item.formats)
        # Read again: what was hashed before the call may have changed since.
        digests = hash_file(job.file, scene.digest_names, lambda _: None, sha256=job.sha256)
        proof = proof_of(result) if item.proofs else None
        for name, signature in signatures.items():
            scene.judge.check(digests, signature, name, version=version_of(result), proof=proof)
        for name, signature in signatures.items():
            write_whole(job.targets[name], signature, replace=scene.order.replace)
        if proof is not None:
            write_proof(proof, item.proofs, replace=scene.order.replace)
    except CommandFailed as failure:
        return Outcome(job.file, {}, result, failure)
    return Outcome(job.file, job.targets, result, proofs=item.proofs)


def version_of(result: Json) -> int:
    """Which version of the key signed. Raises: Unreachable where the answer does not say."""
    version = result.get("key_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise Unreachable("the answer does not say which version of the key signed")
    return version


def made_signatures(result: Json, formats: Sequence[ArtifactFormat]) -> dict[ArtifactFormat, bytes]:
    """Each signature as the bytes of its file: JSON formats as one line."""
    made = as_object(result.get("signatures"), "result's signatures")
    signatures: dict[ArtifactFormat, bytes] = {}
    for name in formats:
        if name in ("cms", "raw"):
            signatures[name] = bytes_member(made, name)
        else:
            text = json.dumps(as_object(made.get(name), name), ensure_ascii=False, separators=(",", ":"))
            signatures[name] = f"{text}\n".encode()
    return signatures
