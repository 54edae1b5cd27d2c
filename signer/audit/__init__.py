"""The audit trail: an intent durable before the HSM is asked, an outcome durable before the answer leaves.

Transparency (the Merkle log over outcomes) comes with a later version; the seam is `trail.AuditTrail.close`.
"""

from signer.audit.records import AuditedKey, ItemsRefused, Outcome, RecordedIntent
from signer.audit.trail import AuditTrail

__all__ = ["AuditTrail", "AuditedKey", "ItemsRefused", "Outcome", "RecordedIntent"]
