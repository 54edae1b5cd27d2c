"""Signature Version 4 against AWS's own published examples, and the corners of its canonical form."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from signer.authn.sigv4_canonical import (
    canonical_path,
    canonical_query,
    canonical_request,
    canonical_value,
    signature,
    signing_key,
    string_to_sign,
)
from signer.kms.state_changing import CHANGING, UNCHANGING, changes_state
from tests.signer.authn.aws_signing_examples import (
    IAM,
    IAM_SIGNING_KEY,
    S3_HEADER,
    S3_QUERY,
    S3_SECRET,
    SECRET,
    SUITE,
)

if TYPE_CHECKING:
    from tests.signer.authn.aws_signing_examples import Example


def assert_signs(example: Example, secret: bytes, service: str, moment: str) -> None:
    headers = example.all_headers()
    target = example.target.encode()
    canonical = canonical_request(example.method, target, headers, example.signed(), example.payload)
    if example.canonical_sha256 is not None:
        assert hashlib.sha256(canonical).hexdigest() == example.canonical_sha256, canonical.decode()
    text = string_to_sign(moment, f"{moment[:8]}/us-east-1/{service}/aws4_request", canonical)
    assert signature(signing_key(secret, moment[:8], "us-east-1", service), text) == example.signature


@pytest.mark.parametrize("example", SUITE, ids=lambda example: example.name)
def test_the_test_suite(example: Example) -> None:
    assert_signs(example, SECRET, "service", "20150830T123600Z")


def test_the_example_of_iam_step_by_step() -> None:
    assert signing_key(SECRET, "20150830", "us-east-1", "iam").hex() == IAM_SIGNING_KEY
    assert_signs(IAM, SECRET, "iam", "20150830T123600Z")


@pytest.mark.parametrize("example", [*S3_HEADER, S3_QUERY], ids=lambda example: example.name)
def test_the_examples_of_s3_whose_paths_need_no_escaping(example: Example) -> None:
    assert_signs(example, S3_SECRET, "s3", "20130524T000000Z")


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("", "/"),
        ("/a%20b/%E1%88%B4", "/a%2520b/%25E1%2588%25B4"),  # what is escaped is escaped once more
        ("/a%2Fb", "/a%252Fb"),  # and stays apart from /a/b
        ("/a+b*c'd(e)!", "/a%2Bb%2Ac%27d%28e%29%21"),
        ("/../../a", "/a"),
        ("/a/./b/", "/a/b/"),
        ("/a/b/..", "/a"),
    ],
)
def test_paths(sent: str, canonical: str) -> None:
    assert canonical_path(sent.encode()).decode() == canonical


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1&a=10", "a=1&a=10&a=2"),
        ("a&b=", "a=&b="),
        ("a=1&&b=2&", "a=1&b=2"),
        ("a=b=c", "a=b%3Dc"),
        ("a=%7e%41+b%2B", "a=~A%20b%2B"),  # one form of each, a space for +
        ("A=1&a=1&_=1&-=1", "-=1&A=1&_=1&a=1"),
        ("a=%FF", "a=%FF"),  # octets, whether text or not
        ("a=1&X-Amz-Signature=00&x-amz-signature=1", "a=1&x-amz-signature=1"),
        ("a%00b=%0A", "a%00b=%0A"),
    ],
)
def test_queries(sent: str, canonical: str) -> None:
    assert canonical_query(sent.encode()).decode() == canonical


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        (b"  a  b\t c ", b"a b c"),
        (b"a\r\n  b\r\n\tc", b"a b c"),  # folded lines
        (b"", b""),
        (b"\xc3\xa9\xa0 x", b"\xc3\xa9\xa0 x"),  # a no-break space is no space here
    ],
)
def test_values(sent: bytes, canonical: bytes) -> None:
    assert canonical_value(sent) == canonical


def test_every_operation_either_changes_something_or_does_not() -> None:
    assert len(CHANGING) + len(UNCHANGING) == 56
    assert not CHANGING & UNCHANGING
    assert all(changes_state(f"TrentService.{name}") for name in CHANGING)
    assert not any(changes_state(f"TrentService.{name}") for name in UNCHANGING)
    assert changes_state("TrentService.Unheard")
    assert changes_state("")
