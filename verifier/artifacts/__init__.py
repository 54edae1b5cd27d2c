"""Signatures over files: which format it is, and whether the file, the signature and the trust belong together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Literal

from verifier.algorithms import ALGORITHMS
from verifier.artifacts.cms import DetachedSignature, looks_like_cms, parse_detached
from verifier.artifacts.files import FileFacts, open_stream, read_stream
from verifier.artifacts.raw import check_raw, select_candidates
from verifier.certificates import check_code_signing_chain, describe_certificate, name_of
from verifier.errors import Indeterminate, Rejected
from verifier.keys import PublicKey, describe_key, fingerprint
from verifier.results import KeyFacts, TimeFacts, VerifiedArtifact
from verifier.times import format_time, require_aware

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

    from cryptography import x509

    from verifier.algorithms import SignatureAlgorithm
    from verifier.trust import Trust, TrustedKey

SignatureFormat = Literal["cms", "raw"]
PURPOSE = "artifact"

NOT_REVOCATION = "revocation of the certificates was not looked at"
NOT_SIGNING_TIME = "when the signature was made is not proven"
NOT_CERTIFICATE = "the certificate in the signature was not judged: you trust its key"


def verify_artifact(
    file: str | os.PathLike[str] | BinaryIO,
    signature: bytes,
    trust: Trust,
    *,
    at: datetime | None = None,
    algorithm: str | None = None,
    signature_format: SignatureFormat | None = None,
) -> VerifiedArtifact:
    """Verifies a detached signature over a file and returns what is now known about it.

    `file` is a path or a binary stream, read once and never held in memory as a whole (but for Ed25519, up to 64 MiB).
    `signature` is DER CMS SignedData or a bare signature (RSA, DER ECDSA, Ed25519); its form shows in its bytes unless
    `signature_format` says it. `trust` comes from `parse_trust`. `at` is the moment to judge validity at, now by
    default; `algorithm` (an AWS name) demands one algorithm. Raises `Rejected`, `Indeterminate`, and `ValueError` for
    arguments that make no sense.
    """
    time = TimeFacts(require_aware(at or datetime.now(UTC), "at"), "now" if at is None else "given")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}")
    if signature_format not in (None, "cms", "raw"):
        raise ValueError("signature_format must be cms or raw")
    demanded = None if algorithm is None else ALGORITHMS[algorithm]
    if not trust.keys_for(PURPOSE) and not trust.anchors_for(PURPOSE):
        raise Indeterminate("no_trust", "The trust file names no key and no authority for artifacts.")
    if (signature_format or _detect(signature)) == "cms":
        return _verify_cms(file, parse_detached(signature), trust, time, demanded)
    return _verify_raw(file, signature, trust, time, demanded)


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
    time: TimeFacts,
    demanded: SignatureAlgorithm | None,
) -> VerifiedArtifact:
    """RFC 5652 section 5.6, then trust: the signature, the signer, the file, in this order."""
    if demanded not in (None, signature.algorithm):
        raise Rejected("algorithm_mismatch", f"The signature is made with {signature.algorithm.name}, not as demanded.")
    public_key = signature.check_signature()
    chain, listed = _trust_signer(signature, public_key, trust, time)
    facts, name = _read(file, {signature.hash_name}, keep_message=False)
    if facts.digests[signature.hash_name] != signature.attributes.message_digest:
        raise Rejected("digest_mismatch", "The file is not the one that was signed: its digest differs.")
    return VerifiedArtifact(
        name=name,
        size=facts.size,
        digests={digest_name: digest.hex() for digest_name, digest in facts.digests.items()},
        signature_format="cms",
        signer=name_of(signature.certificate) if chain else _name_key(listed, public_key),
        key=_describe(signature.algorithm, public_key, listed, "authority" if chain else "key"),
        time=time,
        claimed_signing_time=signature.attributes.signing_time,
        certificates=tuple(describe_certificate(certificate) for certificate in chain),
        not_covered=(NOT_SIGNING_TIME, NOT_REVOCATION if chain else NOT_CERTIFICATE),
    )


def _trust_signer(
    signature: DetachedSignature, public_key: PublicKey, trust: Trust, time: TimeFacts
) -> tuple[tuple[x509.Certificate, ...], TrustedKey | None]:
    """The signer's chain (empty where trust names keys alone) and the entry that lists its key, if one does.

    Where trust names authorities for artifacts, a chain to one of them is always needed; a listed key must be used as
    its entry says whether or not there is a chain.
    """
    listed = trust.find_key(public_key)
    if listed is not None:
        check_listed_key(listed, signature.algorithm, time.judged_at)
    anchors = trust.anchors_for(PURPOSE)
    if anchors:
        chain = check_code_signing_chain(signature.certificate, signature.candidates, anchors, time.judged_at)
        return chain, listed
    if listed is None:
        raise Rejected("untrusted_signer", f"{name_of(signature.certificate)} signed with a key that you do not trust.")
    return (), listed


def check_listed_key(key: TrustedKey, algorithm: SignatureAlgorithm, at: datetime) -> None:
    """Rejected unless the trust lets the key make artifact signatures with this algorithm at this moment."""
    who = _name_key(key, key.public_key)
    if not key.speaks_for(PURPOSE):
        raise Rejected("key_not_for_this_purpose", f"The key {who} is trusted for {key.purpose}, not for artifacts.")
    if algorithm not in key.algorithms:
        raise Rejected("algorithm_mismatch", f"The key {who} is not trusted for {algorithm.name}.")
    if key.not_before is not None and at < key.not_before:
        raise Rejected("key_not_yet_valid", f"The key {who} is trusted from {format_time(key.not_before)} only.")
    if key.not_after is not None and at > key.not_after:
        raise Rejected("key_expired", f"The key {who} is trusted until {format_time(key.not_after)} only.")


def _verify_raw(
    file: str | os.PathLike[str] | BinaryIO,
    signature: bytes,
    trust: Trust,
    time: TimeFacts,
    demanded: SignatureAlgorithm | None,
) -> VerifiedArtifact:
    """A bare signature names nobody: each trusted key that could have made it is tried."""
    keys = trust.keys_for(PURPOSE)
    if not keys:
        raise Indeterminate("no_trust", "A bare signature needs a trusted public key; the trust file names none.")
    candidates = select_candidates(keys, signature, demanded)
    hash_names = {algorithm.hash_name for _, algorithm in candidates if algorithm.hash_name is not None}
    needs_message = any(algorithm.hash_name is None for _, algorithm in candidates)
    facts, name = _read(file, hash_names, keep_message=needs_message)
    key, algorithm = check_raw(candidates, signature, facts)
    check_listed_key(key, algorithm, time.judged_at)
    return VerifiedArtifact(
        name=name,
        size=facts.size,
        digests={digest_name: digest.hex() for digest_name, digest in sorted(facts.digests.items())},
        signature_format="raw",
        signer=_name_key(key, key.public_key),
        key=_describe(algorithm, key.public_key, key, "key"),
        time=time,
        not_covered=(NOT_SIGNING_TIME,),
    )


def _read(
    file: str | os.PathLike[str] | BinaryIO, hash_names: Collection[str], *, keep_message: bool
) -> tuple[FileFacts, str | None]:
    with open_stream(file) as (stream, name):
        return read_stream(stream, hash_names, keep_message=keep_message), name


def _name_key(key: TrustedKey | None, public_key: PublicKey) -> str:
    """What a person calls the key: its name, else its id, else its fingerprint."""
    named = None if key is None else key.name or key.key_id
    return named or f"key {fingerprint(public_key)[:16]}"


def _describe(
    algorithm: SignatureAlgorithm,
    public_key: PublicKey,
    listed: TrustedKey | None,
    trusted_by: Literal["authority", "key"],
) -> KeyFacts:
    return KeyFacts(
        algorithm=algorithm.name,
        kind=describe_key(public_key),
        sha256=fingerprint(public_key),
        trusted_by=trusted_by,
        key_id=None if listed is None else listed.key_id,
        key_version=None if listed is None else listed.key_version,
        name=None if listed is None else listed.name,
    )
