"""Each operation of AWS's wire protocol with bodies of its types, bounds, and what fits nothing: refused, or done."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from signer.kms.operations import OPERATIONS
from tests.hostile.wire import Maker
from tests.signer.kms.asking import ADMIN, USER, made_key

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

BODIES = 4


@pytest.mark.parametrize("seed", range(BODIES))
def test_no_body_is_a_fault_of_ours(service: ServiceInProcess, seed: int) -> None:
    keys = [made_key(service)["KeyId"], made_key(service, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyId"]]
    maker = Maker(random.Random(seed), keys)  # noqa: S311 (repeatable on purpose)
    for name in sorted(OPERATIONS):
        body = maker.body(OPERATIONS[name].request)
        for who in (ADMIN, USER):
            answer = service.kms(who, name, body)
            assert answer.status_code < 500, (name, body, answer.get_data(as_text=True))
