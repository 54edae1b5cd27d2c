"""Signatures over files: which format it is, and whether the file, the signature and the trust belong together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

from verifier.algorithms import ALGORITHMS
from verifier.artifacts.bundle import MAXIMUM_BUNDLE_BYTES, Bundle, MessageSignature, parse_bundle
from verifier.artifacts.candidates import certified_candidates, check_candidates, hints_of, listed_candidates
from verifier.artifacts.cms import DetachedSignature, looks_like_cms, parse_detached
from verifier.artifacts.dsse import Envelope, parse_envelope
from verifier.artifacts.files import read_file
from verifier.artifacts.raw import check_raw, select_candidates
from verifier.artifacts.signers import PURPOSE, Signer, trust_certified_signer, trust_listed_signer
from verifier.artifacts.statement import parse_statement
from verifier.errors import Indeterminate, Rejected
from verifier.log_leaves import made_over_digest, made_over_message
from verifier.log_proofs import judged_time, open_proof, position_in
from verifier.results import VerifiedArtifact
from verifier.revocation import RevocationPolicy
from verifier.strict_json import parse_object
from verifier.times import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifier.algorithms import SignatureAlgorithm
    from verifier.artifacts.files import AnyFile
    from verifier.log_proofs import LoggedEntry
    from verifier.results import TimeFacts
    from verifier.revocation import RevocationList
    from verifier.trust import Trust
    from verifier.trusted_logs import TrustedLog

SignatureFormat = Literal["cms", "raw", "bundle", "dsse"]

NOT_SIGNING_TIME: Final = "when the signature was made is not proven"
NOT_BEFORE: Final = "how long before {} the signature was made is not proven"
NOT_LOG: Final = "entries of transparency logs and time-stamps in the bundle were not looked at"
NOT_PREDICATE: Final = "what the statement's predicate says is the signer's word: nothing was judged by it"
NOT_UNSIGNED: Final = "attributes beside the signature (a countersignature, a time stamp) are not signed: none was read"


def verify_artifact(
    file: AnyFile,
    signature: bytes,
    trust: Trust,
    *,
    at: datetime | None = None,
    algorithm: str | None = None,
    signature_format: SignatureFormat | None = None,
    crls: Sequence[RevocationList] = (),
    require_crl: bool = False,
    proof: bytes | str | None = None,
    logs: Sequence[TrustedLog] = (),
) -> VerifiedArtifact:
    """Verifies a detached signature over a file and returns what is now known about it.

    `file` is a path or a binary stream, read once and never held in memory as a whole (but for Ed25519, up to 64 MiB).
    Or it is `FileDigests`, for a file that the caller has hashed. `signature` is DER CMS SignedData, a Sigstore bundle,
    a DSSE envelope or a bare signature (RSA, DER ECDSA, Ed25519); its form shows in its bytes unless
    `signature_format` says it. `trust` comes from `parse_trust`. `at` is the moment to judge validity at, now by
    default; `algorithm` (an AWS name) demands one algorithm. `crls` (from `load_revocation_lists`) are held against the
    chain beside those in trust; with `require_crl` every certificate below the authority needs a current one. What is
    revoked by now is refused at an earlier `at` too. `proof` (C2SP tlog-proof) must show that one of `logs`, by default
    those in trust, has this very signature; where its log needs cosignatures, the moment at which its witnesses had
    seen it is the one to judge validity at, unless `at` is given. Raises `Rejected`, `Indeterminate`, and `ValueError`
    for arguments that make no sense.
    """
    clock = datetime.now(UTC)
    entry = open_proof(proof, logs, trust.logs, clock)
    time = judged_time(at, clock, entry)
    policy = RevocationPolicy(
        at=time.judged_at,
        latest=max(time.as_of, clock),
        lists=tuple(crls),
        demanded=require_crl,
        proven_at=time.judged_at if time.basis == "log" else None,
    )
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}")
    if signature_format not in (None, *get_args(SignatureFormat)):
        raise ValueError(f"signature_format must be one of {', '.join(get_args(SignatureFormat))}")
    demanded = None if algorithm is None else ALGORITHMS[algorithm]
    if not trust.keys_for(PURPOSE) and not trust.authorities_for(PURPOSE):
        raise Indeterminate("no_trust", "The trust file names no key and no authority for artifacts.")
    judgement = _Judgement(time, policy, demanded, entry)
    match signature_format or _detect(signature):
        case "cms":
            return _verify_cms(file, parse_detached(signature), trust, judgement)
        case "bundle":
            return _verify_bundle(file, parse_bundle(signature), trust, judgement)
        case "dsse":
            return _verify_dsse(file, parse_envelope(signature), trust, judgement)
        case "raw":
            return _verify_raw(file, signature, trust, judgement)


@dataclass(frozen=True, slots=True)
class _Judgement:
    """By what the signature is judged besides trust."""

    time: TimeFacts
    policy: RevocationPolicy
    demanded: SignatureAlgorithm | None
    entry: LoggedEntry | None

    @property
    def limits(self) -> tuple[str, ...]:
        """What is not known of when the signature was made, and what the proof leaves open, if there is one."""
        if self.entry is None:
            return (NOT_SIGNING_TIME,)
        proven_at = self.entry.proven_at
        return (
            NOT_SIGNING_TIME if proven_at is None else NOT_BEFORE.format(format_time(proven_at)),
            *self.entry.limits,
        )


def _detect(signature: bytes) -> SignatureFormat:
    """Which it is. Bare signatures are random bytes: one in 256 begins with a brace, but none is text as a whole."""
    if signature.lstrip().startswith(b"{") and _is_text(signature):
        return _detect_json(signature)
    if signature.startswith(b"-----BEGIN "):
        raise Indeterminate("unsupported_format", "The signature is PEM: only DER and bare signatures can be verified.")
    return "cms" if looks_like_cms(signature) else "raw"


def _detect_json(signature: bytes) -> SignatureFormat:
    """A bundle has a media type, an envelope a type of payload; each reader is strict about the rest."""
    if len(signature) > MAXIMUM_BUNDLE_BYTES:
        raise Rejected("too_large", f"The signature is larger than {MAXIMUM_BUNDLE_BYTES} bytes.")
    try:
        members = parse_object(signature)
    except ValueError as error:
        raise Rejected("malformed", f"The signature looks like JSON and is malformed: {error}.") from error
    if "mediaType" in members:
        return "bundle"
    if "payloadType" in members:
        return "dsse"
    raise Indeterminate("unsupported_format", "The signature is neither a Sigstore bundle nor a DSSE envelope.")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _verify_cms(
    file: AnyFile,
    signature: DetachedSignature,
    trust: Trust,
    judgement: _Judgement,
) -> VerifiedArtifact:
    """RFC 5652 section 5.6, then trust: the signature, the signer, the file, in this order."""
    if judgement.demanded not in (None, signature.algorithm):
        raise Rejected("algorithm_mismatch", f"The signature is made with {signature.algorithm.name}, not as demanded.")
    key, algorithm = signature.check_signature(), signature.algorithm
    made = made_over_message(algorithm, key, signature.signature, signature.attributes.encoded)
    signer, limits = trust_certified_signer(
        signature.certificate, signature.candidates, (key, algorithm), trust, judgement.policy
    )
    if signature.has_unsigned_attributes:
        limits = (NOT_UNSIGNED, *limits)
    facts, name = read_file(file, {signature.hash_name}, keep_message=False)
    if facts.digests[signature.hash_name] != signature.attributes.message_digest:
        raise Rejected("digest_mismatch", "The file is not the one that was signed: its digest differs.")
    return VerifiedArtifact(
        name=name,
        size=facts.size,
        digests={digest_name: digest.hex() for digest_name, digest in facts.digests.items()},
        signature_format="cms",
        signer=signer.name,
        key=signer.describe_key(),
        time=judgement.time,
        claimed_signing_time=signature.attributes.signing_time,
        certificates=signer.describe_certificates(),
        not_covered=(*judgement.limits, *limits),
        log_position=position_in(judgement.entry, made),
    )


def _verify_raw(
    file: AnyFile,
    signature: bytes,
    trust: Trust,
    judgement: _Judgement,
) -> VerifiedArtifact:
    """A bare signature names nobody: each trusted key that could have made it is tried."""
    keys = trust.keys_for(PURPOSE)
    if not keys:
        raise Indeterminate("no_trust", "A bare signature needs a trusted public key; the trust file names none.")
    candidates = select_candidates(keys, signature, judgement.demanded)
    hash_names = {algorithm.hash_name for _, algorithm in candidates if algorithm.hash_name is not None}
    needs_message = any(algorithm.hash_name is None for _, algorithm in candidates)
    facts, name = read_file(file, hash_names, keep_message=needs_message)
    key, algorithm = check_raw(candidates, signature, facts)
    signer = trust_listed_signer(key, algorithm, judgement.policy)
    if algorithm.hash_name is None:
        made = made_over_message(algorithm, key.public_key, signature, facts.message or b"")
    else:
        made = made_over_digest(algorithm, key.public_key, signature, facts.digests[algorithm.hash_name])
    return VerifiedArtifact(
        name=name,
        size=facts.size,
        digests={digest_name: digest.hex() for digest_name, digest in sorted(facts.digests.items())},
        signature_format="raw",
        signer=signer.name,
        key=signer.describe_key(),
        time=judgement.time,
        not_covered=(*judgement.limits, trust.revocation_limit),
        log_position=position_in(judgement.entry, made),
    )


def _verify_bundle(file: AnyFile, bundle: Bundle, trust: Trust, judgement: _Judgement) -> VerifiedArtifact:
    """The signature, the signer, the file, in this order; the certificate or the hint only says which key to try."""
    limits: tuple[str, ...] = (NOT_LOG,)
    if bundle.certificate is not None:
        candidates = certified_candidates(bundle.certificate, judgement.demanded)
        signed = check_candidates(bundle.content, candidates)
        signer, more = trust_certified_signer(bundle.certificate, (), signed, trust, judgement.policy)
        limits += more
    else:
        signer = _listed_signer(bundle.content, bundle.hint, trust, judgement)
    if isinstance(bundle.content, Envelope):
        return _verify_statement(file, bundle.content, "bundle", signer, limits, judgement)
    content = bundle.content
    made = made_over_digest(signer.algorithm, signer.public_key, content.signature, content.digest)
    facts, name = read_file(file, {content.hash_name}, keep_message=False)
    if facts.digests[content.hash_name] != content.digest:
        raise Rejected("digest_mismatch", "The file is not the one that was signed: its digest differs.")
    return VerifiedArtifact(
        name=name,
        size=facts.size,
        digests={digest_name: digest.hex() for digest_name, digest in facts.digests.items()},
        signature_format="bundle",
        signer=signer.name,
        key=signer.describe_key(),
        time=judgement.time,
        certificates=signer.describe_certificates(),
        not_covered=(*judgement.limits, *limits),
        log_position=position_in(judgement.entry, made),
    )


def _verify_dsse(file: AnyFile, envelope: Envelope, trust: Trust, judgement: _Judgement) -> VerifiedArtifact:
    """An envelope alone: its key is found among the trusted ones."""
    signer = _listed_signer(envelope, envelope.key_id, trust, judgement)
    return _verify_statement(file, envelope, "dsse", signer, (), judgement)


def _listed_signer(
    content: MessageSignature | Envelope, hint: str | None, trust: Trust, judgement: _Judgement
) -> Signer:
    """Each trusted key that could have made the signature is tried. Nothing protects a hint, so it selects no key."""
    keys = trust.keys_for(PURPOSE)
    if not keys:
        raise Indeterminate("no_trust", "The signature carries no certificate: it needs a trusted public key.")
    public_key, algorithm = check_candidates(content, listed_candidates(keys, judgement.demanded))
    named = [key for key in keys if hint in hints_of(key)]
    key = next(key for key in keys if key.public_key == public_key)
    if named and key not in named:
        raise Rejected("signer_mismatch", "The signature names another key that you trust than the one it is by.")
    return trust_listed_signer(key, algorithm, judgement.policy)


def _verify_statement(
    file: AnyFile,
    envelope: Envelope,
    signature_format: Literal["bundle", "dsse"],
    signer: Signer,
    limits: tuple[str, ...],
    judgement: _Judgement,
) -> VerifiedArtifact:
    """The statement of an envelope whose signature holds, against the file."""
    made = made_over_message(signer.algorithm, signer.public_key, envelope.signature, envelope.signed)
    statement = parse_statement(envelope.payload)
    facts, name = read_file(file, statement.hash_names, keep_message=False)
    return VerifiedArtifact(
        name=name,
        size=facts.size,
        digests={digest_name: digest.hex() for digest_name, digest in sorted(facts.digests.items())},
        signature_format=signature_format,
        signer=signer.name,
        key=signer.describe_key(),
        time=judgement.time,
        statement=statement.match(facts.digests),
        certificates=signer.describe_certificates(),
        not_covered=(*judgement.limits, NOT_PREDICATE, *limits),
        log_position=position_in(judgement.entry, made),
    )
