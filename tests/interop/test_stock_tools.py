"""Tools that no one here wrote accept what the running service signed, and refuse it with one byte changed.

Everything goes over HTTP and the `sealmark` command; keys and certificates are those that the service publishes.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.interop.conftest import ROOT, Market
from tools.demo import scenario
from tools.demo.judges import (
    ACCEPTED,
    REJECTED,
    Joserfc,
    Judge,
    OpensslCms,
    OpensslDgst,
    SealmarkVerify,
    Xmlsec1,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tools.demo.exhibits import Exhibit

OWN = SealmarkVerify(ROOT / ".venv-verifier" / "bin" / "sealmark-verify")
ARTIFACT_KEYS = [key.alias for key in scenario.KEYS if key.purpose == "artifact"]
JWT_KEYS = [key.alias for key in scenario.KEYS if key.purpose == "jwt"]
CASES = [
    *(("cms", key, (), judge) for key in ARTIFACT_KEYS for judge in (OpensslCms(), OWN)),
    *(("raw", key, (), judge) for key in ARTIFACT_KEYS for judge in (OpensslDgst(), OWN)),
    *((kind, key, (), OWN) for kind in ("bundle", "dsse") for key in ARTIFACT_KEYS),
    *(("jwt", key, (), judge) for key in JWT_KEYS for judge in (Joserfc(), OWN)),
    *(("saml", "sso", parts, judge) for parts in scenario.SIGNED_PARTS.values() for judge in (Xmlsec1(), OWN)),
]


def case_id(value: object) -> str:
    return (
        value.name if isinstance(value, SealmarkVerify | OpensslCms | OpensslDgst | Xmlsec1 | Joserfc) else str(value)
    )


@pytest.mark.parametrize(("kind", "key", "signed", "judge"), CASES, ids=case_id)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc prefers RFC 9864's new name for it
def test_accepted_and_with_one_byte_changed_refused(
    market: Market, kind: str, key: str, signed: tuple[str, ...], judge: Judge
) -> None:
    for exhibit in market.find(kind, key, signed):
        assert judge.judge(exhibit, exhibit.subject, market.published) == ACCEPTED
        assert judge.judge(exhibit, exhibit.tampered, market.published) == REJECTED


def python3_saml(market: Market, exhibit: Exhibit, subject: Path, **changes: object) -> dict[str, object]:
    """The verdict of a service provider on python3-saml, in its own environment."""
    published = market.published
    expected = {
        "issuer": published.issuer,
        "audience": published.audience,
        "recipient": published.recipient,
        "request_id": published.request_id,
        "signed": exhibit.signed,
        **changes,
    }
    program: list[str | Path] = [
        ROOT / ".venv-saml" / "bin" / "python",
        "-I",
        ROOT / "tests" / "interop" / "service_provider.py",
    ]
    done = subprocess.run(
        [*program, subject, published.folder / "idp.crt"],
        input=json.dumps(expected),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict: dict[str, object] = json.loads(done.stdout)
    return verdict


@pytest.mark.parametrize("sign", scenario.SIGNED_PARTS)
def test_python3_saml_accepts_a_response_and_refuses_it_tampered(market: Market, sign: str) -> None:
    (exhibit,) = market.find("saml", "sso", scenario.SIGNED_PARTS[sign])
    accepted = python3_saml(market, exhibit, exhibit.subject)
    assert accepted == {
        "accepted": True,
        "reason": "",
        "name_id": scenario.SUBJECT,
        "attributes": {"groups": ["release", "operators"]},
    }
    refused = python3_saml(market, exhibit, exhibit.tampered)
    assert refused["accepted"] is False
    assert "ignature" in str(refused["reason"])


def test_python3_saml_refuses_a_response_for_another_audience(market: Market) -> None:
    (exhibit,) = market.find("saml", "sso", ("assertion",))
    verdict = python3_saml(market, exhibit, exhibit.subject, audience="https://other.example.com")
    assert verdict["accepted"] is False


def test_one_artifact_of_one_key_is_not_another(market: Market) -> None:
    """A signature by one key does not pass for another key's, nor one file's for another's."""
    by_rsa, by_p256 = market.find("raw", "release-rsa"), market.find("raw", "release-p256")
    judge = OpensslDgst()
    assert judge.judge(by_p256[0], by_p256[1].subject, market.published) == REJECTED
    assert judge.judge(by_rsa[0], by_rsa[1].subject, market.published) == REJECTED


def test_the_published_certificates_chain_to_the_published_authority(market: Market) -> None:
    folder = market.published.folder
    for key in scenario.KEYS:
        chain = folder / f"{key.alias}.chain.pem"
        command: list[str | Path] = ["openssl", "verify", "-CAfile", folder / "ca.pem", "-untrusted", chain, chain]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
