"""What of the log's database the log itself does not say: whether the tables around it say the same.

The tree proves leaves, and leaves prove records and rows. What is found, shown and counted is in columns beside them,
in intents and in the rows' journal: here each is held against the record, leaf or link that it must follow from. Reads
a snapshot, needs no HSM, decides nothing by what it has not checked.
"""

from signer.audit.checks.books import Books, check_books
from signer.audit.checks.entries import Checker
from signer.audit.checks.findings import Finding, Findings
from signer.audit.checks.stored import StoredEntry, StoredLog, stored_logs

__all__ = [
    "Books",
    "Checker",
    "Finding",
    "Findings",
    "StoredEntry",
    "StoredLog",
    "check_books",
    "stored_logs",
]
