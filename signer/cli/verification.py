"""Holds what the service returned against what is trusted, with the verifier that third parties use.

A signature that was garbled on the way, made by another key, made over another file or that states something else than
was asked for never reaches the disk; and a signature that is there already counts only if it passes the same judgement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from signer.cli.errors import CommandFailed

if TYPE_CHECKING:
    from verifier import FileDigests, StatementFacts, Trust, TrustedLog, VerifiedArtifact

ArtifactFormat = Literal["cms", "raw", "bundle", "dsse", "attestation"]
SLSA_PROVENANCE = "https://slsa.dev/provenance/v1"

_READ_AS: Mapping[ArtifactFormat, Literal["cms", "raw", "bundle", "dsse"]] = {
    "cms": "cms",
    "raw": "raw",
    "bundle": "bundle",
    "dsse": "dsse",
    "attestation": "bundle",
}


@dataclass(frozen=True, slots=True)
class Stated:
    """What a statement must say: the caller's predicate, or SLSA provenance that holds the caller's context."""

    context: Mapping[str, str]
    predicate_type: str | None = None
    predicate: Mapping[str, object] | None = None

    def agrees(self, found: StatementFacts, names: tuple[str, ...]) -> bool:
        """Whether the statement is about these files, in this order, and says this and nothing else."""
        if found.predicate_type != (self.predicate_type or SLSA_PROVENANCE):
            return False
        if tuple(subject.name for subject in found.subjects) != names:
            return False
        if self.predicate is not None:
            return _text(found.predicate) == _text(self.predicate)
        definition = found.predicate.get("buildDefinition")
        return isinstance(definition, dict) and definition.get("externalParameters") == dict(self.context)


def _text(value: Mapping[str, object]) -> str:
    """One text for each value: Python takes true, 1 and 1.0 for equal."""
    return json.dumps(dict(value), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Judge:
    """What signatures are judged by. `key_id` is the one key that must have made them, None where trust decides."""

    trust: Trust
    algorithm: str
    stated: Stated
    key_id: str | None

    def check(
        self,
        file: FileDigests,
        signature: bytes,
        name: ArtifactFormat,
        *,
        version: int | None = None,
        names: tuple[str, ...] | None = None,
        proof: str | None = None,
    ) -> None:
        """Pass if the signature holds over the file, by version `version` of the key where one is given, and the log
        has it by `proof`, where that is given.

        `names` are the files of its statement, by default the file alone. Raises: CommandFailed
        (signature_not_verified); then nothing must be kept of it.
        """
        # Imported here: the commands that verify nothing start without cryptography and XML libraries.
        from verifier import VerificationError, verify_artifact

        try:
            facts = verify_artifact(
                file, signature, self.trust, algorithm=self.algorithm, signature_format=_READ_AS[name], proof=proof
            )
        except (VerificationError, ValueError) as exc:
            raise _not_verified(name, str(exc)) from exc
        self._check_key(facts, name, version)
        if (facts.statement is not None) != (name in ("dsse", "attestation")):
            raise _not_verified(name, "it is a signature of another kind")
        if facts.statement is not None and not self.stated.agrees(facts.statement, names or (str(file.name),)):
            raise _not_verified(name, "its statement says something else than was asked for")

    def _check_key(self, facts: VerifiedArtifact, name: ArtifactFormat, version: int | None) -> None:
        if self.key_id is None:
            return
        if facts.key.key_id != self.key_id or version not in (None, facts.key.key_version):
            raise _not_verified(name, "it was made by another key than the one published")


def published_trust(data: bytes, key_id: str) -> Trust:
    """The trust bundle that the service publishes, narrowed to the versions of one key.

    Raises: CommandFailed (not_published) where it has none, (unreachable) where it cannot be used.
    """
    from dataclasses import replace

    from verifier import Trust

    trust = _parsed(data, "the trust bundle from the service")
    # A version's first moment is by the service's clock: a fresh key must not wait for this machine's.
    keys = tuple(replace(key, not_before=None) for key in trust.keys if key.key_id == key_id)
    if not keys:
        raise CommandFailed(
            "the key is not published: its signatures cannot be verified; give --trust FILE", code="not_published"
        )
    return Trust(keys, trust.authorities, logs=_unwitnessed(trust.logs))


def given_trust(data: bytes) -> Trust:
    """The caller's own trust: a trust bundle, a PEM public key or PEM certificates of authorities."""
    from dataclasses import replace

    trust = _parsed(data, "the trust file")
    return replace(trust, logs=_unwitnessed(trust.logs))


def with_published_logs(trust: Trust, data: bytes) -> Trust:
    """The caller's own trust, which names no log, with those of the trust bundle that the service publishes."""
    from dataclasses import replace

    return replace(trust, logs=_unwitnessed(_parsed(data, "the trust bundle from the service").logs))


def _unwitnessed(logs: Sequence[TrustedLog]) -> tuple[TrustedLog, ...]:
    """The logs with no cosignature asked for: witnesses see a signature only after it is made."""
    from dataclasses import replace

    return tuple(replace(log, cosignatures=0) for log in logs)


def _parsed(data: bytes, what: str) -> Trust:
    from verifier import VerificationError, parse_trust

    try:
        return parse_trust(data)
    except VerificationError as exc:
        raise CommandFailed(f"{what} cannot be used: {exc.message}", code=exc.code) from exc


def _not_verified(name: ArtifactFormat, reason: str) -> CommandFailed:
    return CommandFailed(f"the {name} signature does not verify: {reason}", code="signature_not_verified")
