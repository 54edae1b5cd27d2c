"""Signing files: plan, hash here, ask in batches, verify, write. The files themselves never leave this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from signer.cli.client import Client, Json, as_object, text_member
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.files import write_whole
from signer.cli.results import bytes_member, error_of, results_of
from signer.cli.verification import ArtifactFormat, PublishedKey, check_signature, fetch_published_key, fetch_root

SUFFIXES: Mapping[ArtifactFormat, str] = {"cms": ".p7s", "raw": ".sig"}
BATCH_ITEMS = 1000  # the service's limit
BATCH_BYTES = 900_000  # of artifacts in one body; the service takes 1 MiB in all
_CHUNK = 1 << 20
_DIGESTS = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class Job:
    """One file to sign and where each of its signatures goes."""

    file: Path
    targets: Mapping[ArtifactFormat, Path]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: what was written, or why nothing was."""

    file: Path
    written: Mapping[ArtifactFormat, Path]
    result: Json
    error: CommandFailed | None = None

    def described(self) -> dict[str, object]:
        """The outcome as JSON-compatible values."""
        members: dict[str, object] = {"file": str(self.file)}
        if self.error is not None:
            return members | {"error": self.error.described()}
        facts = {name: self.result.get(name) for name in ("key_id", "key_version", "algorithm", "request_id")}
        return members | {"signatures": {name: str(path) for name, path in self.written.items()}} | facts


@dataclass(frozen=True, slots=True)
class Order:
    """What all files have in common."""

    key: str
    formats: tuple[ArtifactFormat, ...]
    context: Mapping[str, str]
    replace: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Whom to tell: bytes that were hashed, files that are done."""

    hashed: Callable[[int], None]
    done: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Prepared:
    job: Job
    artifact: Json


def sign_files(client: Client, order: Order, jobs: Sequence[Job], progress: Progress) -> list[Outcome]:
    """Sign all files; one outcome for each, in their order. A file that fails fails alone.

    Raises: CommandFailed where the service turned away the very first call, so that nothing was signed.
    """
    description = client.get(f"/v1/keys/{order.key}")
    digest_name = needed_digest(description, order)
    root = fetch_root(client, order.key) if "cms" in order.formats else None
    outcomes: dict[Path, Outcome] = {}
    prepared = []
    for job in jobs:
        try:
            prepared.append(_prepare(job, digest_name, progress))
        except CommandFailed as failure:
            outcomes[job.file] = Outcome(job.file, {}, {}, failure)
    finish = _Finisher(client, order, description, root)
    stopped: CommandFailed | None = None
    for number, batch in enumerate(batches(prepared)):
        if stopped is None:
            try:
                results = _ask(client, order, batch)
            except CommandFailed as failure:
                if number == 0:
                    raise
                # What refuses one whole call refuses the next: what is already written stays, the rest is reported.
                stopped = failure
        for index, item in enumerate(batch):
            file = item.job.file
            outcomes[file] = Outcome(file, {}, {}, stopped) if stopped else finish(item.job, results[index])
            progress.done(1)
    return [outcomes[job.file] for job in jobs]


def needed_digest(description: Json, order: Order) -> str:
    """The hash that the key signs, by its description. Raises: CommandFailed where the key cannot do what is asked."""
    purpose = text_member(description, "purpose")
    if purpose != "artifact":
        raise CommandFailed(
            f"key {order.key} is for {purpose}: files are signed with artifact keys", code="wrong_purpose"
        )
    makes = description.get("formats")
    missing = [name for name in order.formats if isinstance(makes, list) and name not in makes]
    if missing:
        listed = ", ".join(str(name) for name in makes) if isinstance(makes, list) else ""
        raise CommandFailed(
            f"key {order.key} does not make {missing[0]}; it makes: {listed}", code="unprocessable", field="formats"
        )
    if description.get("published") is False:
        # Its public key cannot be had, so nothing that it signs can be verified here before it is kept.
        raise CommandFailed(
            f"key {order.key} is not published: its signatures cannot be verified", code="not_published"
        )
    digest = description.get("required_digest")
    if digest not in _DIGESTS:
        raise CommandFailed(f"key {order.key} does not sign digests of files", code="unprocessable")
    return str(digest)


def _prepare(job: Job, digest_name: str, progress: Progress) -> _Prepared:
    digest, size = hashlib.new(digest_name), 0
    try:
        with job.file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                progress.hashed(len(chunk))
    except OSError as exc:
        raise CommandFailed(f"{job.file} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    return _Prepared(job, {"name": job.file.name, "size": size, "digests": {digest_name: digest.hexdigest()}})


def batches(prepared: Sequence[_Prepared]) -> Iterator[list[_Prepared]]:
    """As many files to a call as the service's limits allow."""
    batch: list[_Prepared] = []
    size = 0
    for item in prepared:
        length = len(json.dumps(item.artifact, ensure_ascii=False).encode()) + 1
        if batch and (len(batch) == BATCH_ITEMS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


def _ask(client: Client, order: Order, batch: Sequence[_Prepared]) -> list[Json]:
    body: dict[str, object] = {"artifacts": [item.artifact for item in batch], "formats": list(order.formats)}
    if order.context:
        body["context"] = dict(order.context)
    return results_of(client.post_signing(f"/v1/keys/{order.key}/artifacts", body), len(batch))


class _Finisher:
    """Turns a result into files: all signatures of a file are verified before the first of them is written."""

    def __init__(self, client: Client, order: Order, description: Json, root: bytes | None) -> None:
        self._order = order
        self._root = root
        self._algorithm = text_member(description, "algorithm")

        @cache
        def published(version: int) -> PublishedKey:
            return fetch_published_key(client, order.key, version)

        self._published = published

    def __call__(self, job: Job, result: Json) -> Outcome:
        try:
            error = error_of(result)
            if error is not None:
                raise error
            signatures = self._verified(job, result)
            for name, signature in signatures.items():
                write_whole(job.targets[name], signature, replace=self._order.replace)
        except CommandFailed as failure:
            return Outcome(job.file, {}, result, failure)
        return Outcome(job.file, job.targets, result)

    def _verified(self, job: Job, result: Json) -> dict[ArtifactFormat, bytes]:
        if result.get("name") != job.file.name:
            raise Unreachable("the answer is for another file")
        version = result.get("key_version")
        if not isinstance(version, int) or isinstance(version, bool):
            raise Unreachable("the answer does not say which version of the key signed")
        made = as_object(result.get("signatures"), "result's signatures")
        signatures = {name: bytes_member(made, name) for name in self._order.formats}
        for name, signature in signatures.items():
            check_signature(
                job.file, signature, name, key=self._published(version), root=self._root, algorithm=self._algorithm
            )
        return signatures
