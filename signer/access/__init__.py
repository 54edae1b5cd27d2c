"""Who may do what: pure decisions. No IO, no clock, no globals; what is needed comes in as arguments."""

from signer.access.circumstances import Surroundings
from signer.access.decision import Admission, Judgement, Permit, admit, decide, judge
from signer.access.duties import DUTIES_OF, Action, Duty

__all__ = [
    "DUTIES_OF",
    "Action",
    "Admission",
    "Duty",
    "Judgement",
    "Permit",
    "Surroundings",
    "admit",
    "decide",
    "judge",
]
