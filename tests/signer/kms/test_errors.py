"""The table of exceptions: every code of ours has one, and what a client should try again has a status that says so."""

from __future__ import annotations

import pytest

from keystore.errors import HsmFault, HsmUnavailable, IntegrityFailure, StoreUnavailable
from signer.call import Trace
from signer.errors import AuditUnavailable, Conflict, TooManyRequests, WrongState
from signer.kms.errors import EXCEPTIONS, fault_for
from signer.problems import PROBLEMS
from tests.signer.kms.model import model

# Of AWS's common errors and its JSON protocol (AWS KMS API Reference, "Common Error Types"); the rest are KMS's own.
COMMON = {
    "AccessDeniedException",
    "RequestEntityTooLargeException",
    "SerializationException",
    "ThrottlingException",
    "UnknownOperationException",
    "ValidationException",
}


def test_every_code_of_ours_has_an_exception_of_aws() -> None:
    assert set(EXCEPTIONS) == set(PROBLEMS)
    exceptions = {name for name, shape in model()["shapes"].items() if shape.get("exception")}
    assert {name for name in EXCEPTIONS.values() if name} <= COMMON | exceptions


@pytest.mark.parametrize(
    ("error", "name", "status"),
    [
        (HsmUnavailable("x"), "DependencyTimeoutException", 503),
        (StoreUnavailable("x"), "DependencyTimeoutException", 503),
        (AuditUnavailable("x"), "DependencyTimeoutException", 503),
        (HsmFault("x"), "KMSInternalException", 500),
        (IntegrityFailure("row x of keys"), "KMSInternalException", 500),
        (KeyError("x"), "KMSInternalException", 500),
        (TooManyRequests("x"), "ThrottlingException", 400),
        (Conflict("x", field="alias"), "AlreadyExistsException", 400),
        (Conflict("x"), "ConflictException", 400),
        (WrongState("x", state="disabled"), "DisabledException", 400),
        (WrongState("x", state="pending_deletion"), "KMSInvalidStateException", 400),
    ],
)
def test_faults_and_refusals(error: Exception, name: str, status: int) -> None:
    fault = fault_for(error, Trace(), "000000000000")
    assert (fault.name, fault.status) == (name, status)
    if status >= 500:
        assert "row x" not in fault.message
        assert fault.message != "x"
