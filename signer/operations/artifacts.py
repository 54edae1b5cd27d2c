"""`POST /v1/keys/{key}/artifacts`: signatures over files that never leave the caller; the service sees their
digests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keystore.algorithms import SIGNING_ALGORITHMS, Purpose
from signer.access import Action
from signer.access.circumstances import signing_context
from signer.errors import Unprocessable
from signer.formats import bundle, cms, dsse, jwks, provenance, raw
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject, prepare_each
from signer.request import Artifact, Artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystore.api import Key, SigningKey
    from signer.access.model import ConditionValues

DEFAULT_FORMATS: Final = ("cms", "dsse")
FORMATS_WITHOUT_DIGEST: Final = ("dsse",)  # of keys that sign messages, not digests
MAXIMUM_STATEMENT_BYTES: Final = 4 * 1024 * 1024  # of all predicates of one call together
_OVER_DIGEST: Final = frozenset({"cms", "raw", "bundle"})
_OVER_STATEMENT: Final = frozenset({"dsse", "attestation"})
# Which members belong to which formats; with others they are refused, so that nobody believes in what does nothing.
_BELONGS_TO: Final = {
    "statement": ("dsse", "attestation"),
    "predicate_type": ("dsse", "attestation"),
    "predicate": ("dsse", "attestation"),
    "material": ("bundle", "attestation"),
}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What one call asks for, for each of its files."""

    formats: tuple[str, ...]
    predicate_type: str
    predicate: Mapping[str, Any]
    material: bundle.VerificationMaterial
    certificate: bytes | None  # DER, where the material is one


class ArtifactSignatures(OfActiveVersion):
    """CMS, raw, Sigstore bundle and DSSE signatures for release files."""

    action: Final = Action.SIGN_ARTIFACT
    purpose: Final = Purpose.ARTIFACT
    body_type: Final = Artifacts

    def details(self, key: Key, body: Artifacts) -> Sequence[ConditionValues]:
        """Formats, algorithm and context."""
        asked = {"sealmark:format": tuple(dict.fromkeys(body.formats)), "kms:signingalgorithm": (key.algorithm,)}
        return [signing_context(body.context) | asked]

    def plan(self, subject: Subject, body: Artifacts) -> Plan:
        """Every format asked for, for every artifact. Raises `Unprocessable` for a fault of the call as a whole."""
        wanted = _wanted(subject, body)
        if body.statement == "one":
            return Plan([_prepare_one_statement(subject, body.artifacts, wanted)], True, body.context)
        single = len(body.artifacts) == 1

        def prepare(artifact: Artifact, position: int) -> Prepared:
            return _prepare(subject, artifact, wanted, f"artifacts[{position}].digests")

        return Plan(prepare_each(body.artifacts, prepare), single, body.context)


def _wanted(subject: Subject, body: Artifacts) -> _Wanted:
    formats = tuple(dict.fromkeys(body.formats))
    for name in formats:
        # The envelope in a bundle is the same signature as the envelope alone.
        if ("dsse" if name == "attestation" else name) not in subject.key.formats:
            msg = f"this key makes {', '.join(subject.key.formats)}; it was not made for {name}"
            raise Unprocessable(msg, field="formats")
    for member, names in _BELONGS_TO.items():
        if getattr(body, member) is not None and not set(names) & set(formats):
            msg = f"`{member}` belongs to the formats {' and '.join(names)}; none of them is asked for"
            raise Unprocessable(msg, field=member)
    if body.statement == "one" and not set(formats) <= _OVER_STATEMENT:
        msg = "one statement over all files comes as dsse or attestation; ask for other formats in another call"
        raise Unprocessable(msg, field="statement")
    predicate_type, predicate = _predicate(subject, body) if _OVER_STATEMENT & set(formats) else ("", {})
    certificate = subject.chain()[0] if body.material == "certificate" else None
    material = (
        bundle.public_key_material(jwks.thumbprint(subject.version.public_key))
        if certificate is None
        else bundle.certificate_material(certificate)
    )
    return _Wanted(formats, predicate_type, predicate, material, certificate)


def _predicate(subject: Subject, body: Artifacts) -> tuple[str, Mapping[str, Any]]:
    """The caller's predicate, or the provenance that follows from the call, within the bounds."""
    if (body.predicate_type is None) != (body.predicate is None):
        msg = "`predicate_type` and `predicate` go together: give both, or neither for SLSA provenance"
        raise Unprocessable(msg, field="predicate_type" if body.predicate_type is None else "predicate")
    if body.predicate_type is not None and body.predicate is not None:
        dsse.require_bounded(body.predicate)
        predicate_type, predicate, field = body.predicate_type, body.predicate, "predicate"
    else:
        key, version = subject.key, subject.version
        call = provenance.SigningCall(key.arn, version.number, subject.caller, subject.request_id, subject.now)
        predicate_type, field = provenance.PREDICATE_TYPE, "context"
        predicate = provenance.predicate(call, body.context or {})
    statements = 1 if body.statement == "one" else len(body.artifacts)
    size = len(msgspec.json.encode(predicate)) * statements
    if size > MAXIMUM_STATEMENT_BYTES:
        msg = f"{statements} statements would hold {size} bytes of predicates, {MAXIMUM_STATEMENT_BYTES} are allowed"
        raise Unprocessable(f"{msg}: send fewer files in a call, or ask for one statement", field=field)
    return predicate_type, predicate


def _prepare(subject: Subject, artifact: Artifact, wanted: _Wanted, at: str) -> Prepared:
    algorithm = SIGNING_ALGORITHMS[subject.key.algorithm]
    hash_name = algorithm.hash_name
    given = getattr(artifact.digests, hash_name) if hash_name else None
    if given is None and _OVER_DIGEST & set(wanted.formats):
        msg = f"a key that signs with {algorithm.name} needs the file's {hash_name} digest"
        raise Unprocessable(msg, field=f"{at}.{hash_name}")
    digest = bytes.fromhex(given or "")
    payload = _statement([artifact], wanted, [at]) if _OVER_STATEMENT & set(wanted.formats) else b""

    def make(key: SigningKey) -> Output:
        _require_usable_certificate(key, subject, wanted)
        signatures: Output = {}
        for name in wanted.formats:
            if name == "cms":
                signatures["cms"] = cms.detached(key, digest, subject.chain(), subject.now)
            elif name == "raw":
                signatures["raw"] = raw.sign_digest(key, digest)
            elif name == "bundle":
                signatures["bundle"] = bundle.over_digest(key, digest, wanted.material)
        signatures |= _attest(key, subject, payload, wanted) if payload else {}
        return {"name": artifact.name, "signatures": {name: signatures[name] for name in wanted.formats}}

    return Prepared(algorithm.name, make, _about(artifact), _file_digest(artifact, digest))


def _prepare_one_statement(subject: Subject, artifacts: Sequence[Artifact], wanted: _Wanted) -> Prepared:
    """One envelope over all files: it is made for all of them or for none."""
    payload = _statement(artifacts, wanted, [f"artifacts[{at}].digests" for at in range(len(artifacts))])

    def make(key: SigningKey) -> Output:
        _require_usable_certificate(key, subject, wanted)
        names = [artifact.name for artifact in artifacts]
        return {"names": names, "signatures": _attest(key, subject, payload, wanted)}

    about = {"artifacts": [_about(artifact) for artifact in artifacts]}
    return Prepared(subject.key.algorithm, make, about, _file_digest(artifacts[0], b""))


def _about(artifact: Artifact) -> dict[str, object]:
    """The file, for the record."""
    return {"name": artifact.name, "size": artifact.size, "digests": msgspec.to_builtins(artifact.digests)}


def _file_digest(artifact: Artifact, signed: bytes) -> bytes | None:
    """By which entries about the file are found: the digest that is signed, or SHA-256, or whichever was given."""
    given = artifact.digests
    return signed or bytes.fromhex(given.sha256 or given.sha384 or given.sha512 or "") or None


def _statement(artifacts: Sequence[Artifact], wanted: _Wanted, fields: Sequence[str]) -> bytes:
    subjects = []
    for artifact, field in zip(artifacts, fields, strict=True):
        digests = {name: digest for name, digest in msgspec.structs.asdict(artifact.digests).items() if digest}
        if not digests:
            msg = "a statement names each file by a digest: give sha256, sha384 or sha512 (tools look for sha256)"
            raise Unprocessable(msg, field=field)
        subjects.append((artifact.name, digests))
    return dsse.statement(subjects, wanted.predicate_type, wanted.predicate)


def _attest(key: SigningKey, subject: Subject, payload: bytes, wanted: _Wanted) -> Output:
    """The envelope, alone and in a bundle, as asked: one signature for both."""
    envelope = dsse.envelope(key, payload, kid=jwks.thumbprint(subject.version.public_key))
    made: Output = {}
    for name in wanted.formats:
        if name == "dsse":
            made[name] = envelope
        elif name == "attestation":
            made[name] = bundle.around(envelope, wanted.material)
    return made


def _require_usable_certificate(key: SigningKey, subject: Subject, wanted: _Wanted) -> None:
    if wanted.certificate is not None:
        bundle.require_usable(key, wanted.certificate, subject.now)
