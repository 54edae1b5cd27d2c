"""What the witness refuses. `Refusal` is an answer of the protocol; the others are for the witness's operator."""

from __future__ import annotations

from http import HTTPStatus


class WitnessError(Exception):
    """Base of what an operator is told. `code` is stable; the message says what to do."""

    code = "witness"


class WitnessStateError(WitnessError):
    """The witness's folder is missing, damaged, or not one that may be used."""

    code = "witness_state"


class UnknownLog(WitnessError):
    """No log of this origin is watched."""

    code = "unknown_log"


class LogConflict(WitnessError):
    """The origin has another key already."""

    code = "log_conflict"


class UnsafeAddress(WitnessError):
    """Other machines reach this address and there is no TLS."""

    code = "unsafe_address"


class Refusal(Exception):
    """No cosignature (C2SP tlog-witness, add-checkpoint): an HTTP status and one line that says why.

    `size` is that of the newest checkpoint that this witness cosigned, where the old size given was another one.
    """

    def __init__(self, status: HTTPStatus, message: str, *, size: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.size = size


class ForkRefusal(Refusal):
    """The log has signed two histories: one of them was cosigned before, the other was shown now."""
