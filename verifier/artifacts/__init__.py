"""Signatures over files: which format it is, and whether the file, the signature and the trust belong together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from verifier.algorithms import ALGORITHMS
from verifier.artifacts.cms import DetachedSignature, looks_like_cms, parse_detached
from verifier.artifacts.files import FileFacts, open_stream, read_stream
from verifier.artifacts.raw import check_raw, select_candidates
from verifier.artifacts.signers import PURPOSE, trust_certified_signer, trust_listed_signer
from verifier.errors import Indeterminate, Rejected
from verifier.results import TimeFacts, VerifiedArtifact
from verifier.revocation import RevocationPolicy
from verifier.times import require_aware

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from verifier.algorithms import SignatureAlgorithm
    from verifier.revocation import RevocationList
    from verifier.trust import Trust

SignatureFormat = Literal["cms", "raw"]

NOT_SIGNING_TIME: Final = "when the signature was made is not proven"
NOT_UNSIGNED: Final = "attributes beside the signature (a countersignature, a time stamp) are not signed: none was read"


def verify_artifact(
    file: str | os.PathLike[str] | BinaryIO,
    signature: bytes,
    trust: Trust,
    *,
    at: datetime | None = None,
    algorithm: str | None = None,
    signature_format: SignatureFormat | None = None,
    crls: Sequence[RevocationList] = (),
    require_crl: bool = False,
) -> VerifiedArtifact:
    """Verifies a detached signature over a file and returns what is now known about it.

    `file` is a path or a binary stream, read once and never held in memory as a whole (but for Ed25519, up to 64 MiB).
    `signature` is DER CMS SignedData or a bare signature (RSA, DER ECDSA, Ed25519); its form shows in its bytes unless
    `signature_format` says it. `trust` comes from `parse_trust`. `at` is the moment to judge validity at, now by
    default; `algorithm` (an AWS name) demands one algorithm. `crls` (from `load_revocation_lists`) are held against the
    chain beside those in trust; with `require_crl` every certificate below the authority needs a current one. What is
    revoked by now is refused at an earlier `at` too. Raises `Rejected`, `Indeterminate`, and `ValueError` for arguments
    that make no sense.
    """
    clock = datetime.now(UTC)
    time = TimeFacts(clock if at is None else require_aware(at, "at"), "now" if at is None else "given")
    policy = RevocationPolicy(time.judged_at, max(time.judged_at, clock), tuple(crls), require_crl)
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}")
    if signature_format not in (None, "cms", "raw"):
        raise ValueError("signature_format must be cms or raw")
    demanded = None if algorithm is None else ALGORITHMS[algorithm]
    if not trust.keys_for(PURPOSE) and not trust.authorities_for(PURPOSE):
        raise Indeterminate("no_trust", "The trust file names no key and no authority for artifacts.")
    if (signature_format or _detect(signature)) == "cms":
        return _verify_cms(file, parse_detached(signature), trust, _Judgement(time, policy, demanded))
    return _verify_raw(file, signature, trust, _Judgement(time, policy, demanded))


@dataclass(frozen=True, slots=True)
class _Judgement:
    """By what the signature is judged besides trust."""

    time: TimeFacts
    policy: RevocationPolicy
    demanded: SignatureAlgorithm | None


def _detect(signature: bytes) -> SignatureFormat:
    """CMS or bare. Bare signatures are random bytes: one in 256 begins with a brace, but none is text as a whole."""
    if signature.lstrip().startswith(b"{") and _is_text(signature):
        raise Indeterminate("unsupported_format", "Sigstore bundles and DSSE envelopes cannot be verified yet.")
    if signature.startswith(b"-----BEGIN "):
        raise Indeterminate("unsupported_format", "The signature is PEM: only DER and bare signatures can be verified.")
    return "cms" if looks_like_cms(signature) else "raw"


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _verify_cms(
    file: str | os.PathLike[str] | BinaryIO,
    signature: DetachedSignature,
    trust: Trust,
    judgement: _Judgement,
) -> VerifiedArtifact:
    """RFC 5652 section 5.6, then trust: the signature, the signer, the file, in this order."""
    if judgement.demanded not in (None, signature.algorithm):
        raise Rejected("algorithm_mismatch", f"The signature is made with {signature.algorithm.name}, not as demanded.")
    signed = (signature.check_signature(), signature.algorithm)
    signer, limits = trust_certified_signer(
        signature.certificate, signature.candidates, signed, trust, judgement.policy
    )
    if signature.has_unsigned_attributes:
        limits = (NOT_UNSIGNED, *limits)
    facts, name = _read(file, {signature.hash_name}, keep_message=False)
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
        not_covered=(NOT_SIGNING_TIME, *limits),
    )


def _verify_raw(
    file: str | os.PathLike[str] | BinaryIO,
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
    facts, name = _read(file, hash_names, keep_message=needs_message)
    key, algorithm = check_raw(candidates, signature, facts)
    signer = trust_listed_signer(key, algorithm, judgement.policy)
    return VerifiedArtifact(
        name=name,
        size=facts.size,
        digests={digest_name: digest.hex() for digest_name, digest in sorted(facts.digests.items())},
        signature_format="raw",
        signer=signer.name,
        key=signer.describe_key(),
        time=judgement.time,
        not_covered=(NOT_SIGNING_TIME, trust.revocation_limit),
    )


def _read(
    file: str | os.PathLike[str] | BinaryIO, hash_names: Collection[str], *, keep_message: bool
) -> tuple[FileFacts, str | None]:
    with open_stream(file) as (stream, name):
        return read_stream(stream, hash_names, keep_message=keep_message), name
