"""Who may do what: pure decisions. No IO, no clock, no globals; what is needed comes in as arguments."""

from signer.access.decision import Admission, Permit, admit, decide, may_see
from signer.access.duties import DUTIES_OF, Action, Duty

__all__ = ["DUTIES_OF", "Action", "Admission", "Duty", "Permit", "admit", "decide", "may_see"]
