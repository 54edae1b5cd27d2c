"""Signers that are not ours against Signature Version 4 as this service verifies it: each is accepted as it is, over
real HTTP; and of random requests by botocore each is accepted, and refused with one change anywhere."""

from __future__ import annotations

import json
import random
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.clock import system_clock
from signer.call import Call
from signer.errors import Unauthenticated
from tests.hsm_support import founded, token
from tests.live import ROOT
from tests.signer.authn.sigv4_by_hand import made
from tests.signer.service import MovedClock, running_service
from tools.service import PROGRAMS

if TYPE_CHECKING:
    import pathlib

    from keystore.hsm import Token
    from tests.live import Live

__all__ = ["founded", "token"]

PYTHON: Final = ROOT / ".venv-aws" / "bin" / "python"
HERE: Final = ROOT / "tests" / "interop" / "aws"
COUNT: Final = 60


def answered(script: str, asked: dict[str, Any]) -> Any:
    done = subprocess.run(
        [PYTHON, HERE / script], input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("temporary", [False, True])
def test_each_signer_is_accepted_as_it_is(live: Live, temporary: bool) -> None:
    with live.service.caller(live.token("ci")) as caller:
        key = caller.json("POST", "/v1/principals/role/ci/access-keys", {"temporary": temporary})
    given = {"id": key["access_key_id"], "secret": key["secret_access_key"], "token": key["session_token"]}
    results = answered("signers.py", {"url": live.service.url, "region": "us-east-1", "key": given})
    assert len({result["signer"].partition(",")[0] for result in results}) == 6
    for result in results:
        said = json.loads(result["answer"])
        assert result["status"] == 200, result
        if result["request"] != "body":
            assert said["credential"] == f"access-key:{key['access_key_id']}"


def test_boto3_signs_an_equal_change_of_the_same_second_again_by_itself(live: Live) -> None:
    token_file = live.folder / ".sealmark" / "key-admin.token"
    process = f"{PROGRAMS / 'sealmark'} --url {live.service.url} --token-file {token_file} access-keys process"
    made_keys = answered("equal_changes.py", {"url": live.service.url, "region": "us-east-1", "process": process})
    assert len(set(made_keys["keys"])) == 3
    assert sum(made_keys["retries"]) >= 1  # three are made within two seconds
    assert made_keys["credential"].startswith("ASIA")


def test_random_requests_are_accepted_and_refused_with_one_change(
    token: Token, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock = MovedClock(system_clock().replace(microsecond=0))
    place: pathlib.Path = tmp_path_factory.mktemp("random-requests")
    with running_service(token, place, clock=clock) as service:
        keys = [made(service, "role/ci"), made(service, "role/ci", temporary=True)]
        seed = random.SystemRandom().randrange(2**32)
        given = {
            "host": "localhost",
            "region": service.services.keystore.region,
            "keys": [{"id": key.id, "secret": key.secret, "token": key.token} for key in keys],
            "moment": clock().isoformat(),
            "seed": seed,
            "count": COUNT,
        }
        chosen = random.Random(seed)  # noqa: S311 - any change will do
        for number, asked in enumerate(answered("random_requests.py", given)):
            why = f"seed {seed}, request {number}: {asked}"
            call = call_of(asked)
            for _ in range(4):
                changed, how = changed_once(asked, chosen)
                with pytest.raises(Unauthenticated):
                    pytest.fail(f"{why}, {how}: {service.services.pipeline.authenticate(call_of(changed))}")
            assert service.services.pipeline.authenticate(call).name == "role/ci", why


def call_of(asked: dict[str, Any]) -> Call:
    headers = asked["headers"]
    return Call(
        *("0" * 32, None, "127.0.0.1", headers.get("authorization"), None, bytes.fromhex(asked["body"])),
        method=asked["method"],
        target=asked["target"],
        headers=headers,
    )


def changed_once(asked: dict[str, Any], chosen: random.Random) -> tuple[dict[str, Any], str]:
    """The same request with one character, one header or one octet changed, and what was."""
    headers, target, body = dict(asked["headers"]), asked["target"], asked["body"]
    what = chosen.choice(["method", "target", "header", "body", "more", "less"])
    if what == "method":
        return {
            **asked,
            "method": chosen.choice([name for name in ("GET", "PUT", "X") if name != asked["method"]]),
        }, what
    if what == "target":
        at = chosen.randrange(1, len(target) + 1)
        return {**asked, "target": f"{target[:at]}0{target[at:]}"}, f"target at {at}"
    if what == "body":
        return {**asked, "body": f"{body}00" if not body or chosen.random() < 0.5 else body[2:]}, what
    if what == "more":
        return {**asked, "headers": {**headers, "x-amz-more": "1"}}, what
    signed = [name for name in headers if name not in ("content-length", "user-agent")]
    name = chosen.choice(signed)
    if what == "less":
        del headers[name]
    else:
        value = headers[name]
        headers[name] = f"{value}0" if name != "authorization" else value[:-1] + ("0" if value[-1] != "0" else "1")
    return {**asked, "headers": headers}, f"{what} {name}"
