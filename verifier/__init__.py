"""Verifies release artifacts, JWTs and SAML assertions that Sealmark signed, and encrypts to its published keys,
without Sealmark and without a network.

A verifying function returns frozen, verified facts or raises `Rejected` (this is wrong) or `Indeterminate` (this could
not be decided). It imports nothing of the service. Names are loaded when first used, so that a caller of one format
does not pay for the libraries of the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from verifier.version import __version__

if TYPE_CHECKING:
    from verifier.algorithms import ALGORITHMS, ENCRYPTION_ALGORITHMS, EncryptionAlgorithm, SignatureAlgorithm
    from verifier.artifacts import verify_artifact
    from verifier.artifacts.files import FileDigests
    from verifier.envelope import (
        EncryptedFile,
        EnvelopeHeader,
        OpenedFile,
        Recipient,
        certified_recipient,
        encrypt,
        encrypt_file,
        looks_like_envelope,
        open_bytes,
        open_file,
        read_header,
        recipient_of,
        seal_bytes,
        seal_file,
    )
    from verifier.errors import Indeterminate, Rejected, VerificationError
    from verifier.log import (
        DirectorySource,
        ExportSource,
        KeptHead,
        LogAudit,
        LogEntry,
        LogRejected,
        LogSource,
        RowEntry,
        audit_log,
        load_head,
        store_head,
    )
    from verifier.log_leaves import DecisionLeaf, FormerLeaf, LoggedSignature, RowsLeaf
    from verifier.log_proofs import LoggedEntry, verify_log_proof
    from verifier.policy import (
        Algorithm,
        AllOf,
        AnyOf,
        Audience,
        CertificateIdentity,
        Format,
        Identity,
        Issuer,
        KeyId,
        Logged,
        MaximumAge,
        Policy,
        VerifiedFacts,
    )
    from verifier.results import (
        CertificateFacts,
        Cosigned,
        KeyFacts,
        LogPosition,
        RevocationFacts,
        StatementFacts,
        StatementSubject,
        TimeFacts,
        TrustEntryFacts,
        VerifiedArtifact,
        VerifiedAssertion,
        VerifiedToken,
    )
    from verifier.revocation import RevocationList, load_revocation_lists
    from verifier.saml import ReplayCache, verify_saml
    from verifier.tokens import verify_jwt
    from verifier.tokens.jwks import KeySet, parse_jwks
    from verifier.trust import Authority, Trust, TrustedKey, load_certificates, parse_trust
    from verifier.trusted_logs import TrustedLog, trusted_log

__all__ = [
    "ALGORITHMS",
    "ENCRYPTION_ALGORITHMS",
    "Algorithm",
    "AllOf",
    "AnyOf",
    "Audience",
    "Authority",
    "CertificateFacts",
    "CertificateIdentity",
    "Cosigned",
    "DecisionLeaf",
    "DirectorySource",
    "EncryptedFile",
    "EncryptionAlgorithm",
    "EnvelopeHeader",
    "ExportSource",
    "FileDigests",
    "Format",
    "FormerLeaf",
    "Identity",
    "Indeterminate",
    "Issuer",
    "KeptHead",
    "KeyFacts",
    "KeyId",
    "KeySet",
    "LogAudit",
    "LogEntry",
    "LogPosition",
    "LogRejected",
    "LogSource",
    "Logged",
    "LoggedEntry",
    "LoggedSignature",
    "MaximumAge",
    "OpenedFile",
    "Policy",
    "Recipient",
    "Rejected",
    "ReplayCache",
    "RevocationFacts",
    "RevocationList",
    "RowEntry",
    "RowsLeaf",
    "SignatureAlgorithm",
    "StatementFacts",
    "StatementSubject",
    "TimeFacts",
    "Trust",
    "TrustEntryFacts",
    "TrustedKey",
    "TrustedLog",
    "VerificationError",
    "VerifiedArtifact",
    "VerifiedAssertion",
    "VerifiedFacts",
    "VerifiedToken",
    "__version__",
    "audit_log",
    "certified_recipient",
    "encrypt",
    "encrypt_file",
    "load_certificates",
    "load_head",
    "load_revocation_lists",
    "looks_like_envelope",
    "open_bytes",
    "open_file",
    "parse_jwks",
    "parse_trust",
    "read_header",
    "recipient_of",
    "seal_bytes",
    "seal_file",
    "store_head",
    "trusted_log",
    "verify_artifact",
    "verify_jwt",
    "verify_log_proof",
    "verify_saml",
]

_HOMES = {
    "verifier.algorithms": ("ALGORITHMS", "ENCRYPTION_ALGORITHMS", "EncryptionAlgorithm", "SignatureAlgorithm"),
    "verifier.artifacts": ("verify_artifact",),
    "verifier.artifacts.files": ("FileDigests",),
    "verifier.envelope": (
        "EncryptedFile",
        "EnvelopeHeader",
        "OpenedFile",
        "Recipient",
        "certified_recipient",
        "encrypt",
        "encrypt_file",
        "looks_like_envelope",
        "open_bytes",
        "open_file",
        "read_header",
        "recipient_of",
        "seal_bytes",
        "seal_file",
    ),
    "verifier.errors": ("Indeterminate", "Rejected", "VerificationError"),
    "verifier.log_leaves": ("DecisionLeaf", "FormerLeaf", "LoggedSignature", "RowsLeaf"),
    "verifier.log_proofs": ("LoggedEntry", "verify_log_proof"),
    "verifier.log": (
        "DirectorySource",
        "ExportSource",
        "KeptHead",
        "LogAudit",
        "LogEntry",
        "LogRejected",
        "LogSource",
        "RowEntry",
        "audit_log",
        "load_head",
        "store_head",
    ),
    "verifier.policy": (
        "Algorithm",
        "AllOf",
        "AnyOf",
        "Audience",
        "CertificateIdentity",
        "Format",
        "Identity",
        "Issuer",
        "KeyId",
        "Logged",
        "MaximumAge",
        "Policy",
        "VerifiedFacts",
    ),
    "verifier.results": (
        "CertificateFacts",
        "Cosigned",
        "KeyFacts",
        "LogPosition",
        "RevocationFacts",
        "StatementFacts",
        "StatementSubject",
        "TimeFacts",
        "TrustEntryFacts",
        "VerifiedArtifact",
        "VerifiedAssertion",
        "VerifiedToken",
    ),
    "verifier.revocation": ("RevocationList", "load_revocation_lists"),
    "verifier.saml": ("ReplayCache", "verify_saml"),
    "verifier.tokens": ("verify_jwt",),
    "verifier.tokens.jwks": ("KeySet", "parse_jwks"),
    "verifier.trust": ("Authority", "Trust", "TrustedKey", "load_certificates", "parse_trust"),
    "verifier.trusted_logs": ("TrustedLog", "trusted_log"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """PEP 562: fetches a public name from the module that holds it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'verifier' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
