"""The audit trail: an intent durable before the HSM is asked, a leaf of the transparency log before the answer leaves.

`trail` is what the rest of the service calls; `records` and `leaf` say what is written, `sequencer` gives it its place
in the log and proves it, `reading` reads it.
"""

from signer.audit.records import AuditedKey, ItemsRefused, Outcome, RecordedIntent, audited
from signer.audit.trail import AuditTrail

__all__ = ["AuditTrail", "AuditedKey", "ItemsRefused", "Outcome", "RecordedIntent", "audited"]
