"""RFC 9421's own examples (appendix B.2) by the keys of appendix B.1, through the library as the service sets it up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest
from http_message_signatures import InvalidSignature, MappingKeyResolver

from signer.authn.request_keys import ALGORITHMS, algorithm_of, load_public_key
from signer.authn.signed_request import _Verifier, signature_base

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS: Final = {
    "test-key-rsa-pss": (
        "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+"
        "Lh1GH45x28Rw3Ry53mm+oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHqgDsznjPFmTOtCEcN2Z1FpWgc"
        "hwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4aOT9"
        "v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI2wIDAQAB"
    ),
    "test-key-ecc-p256": (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdl"
        "dkkDXZCnTNnoXQ=="
    ),
    "test-key-ed25519": "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=",
}


@dataclass(frozen=True)
class Request:
    """The request of appendix B.2."""

    method: str = "POST"
    url: str = "https://example.com/foo?param=Value&Pet=dog"
    headers: Mapping[str, str] = field(
        default_factory=lambda: {
            "Host": "example.com",
            "Date": "Tue, 20 Apr 2021 02:07:55 GMT",
            "Content-Type": "application/json",
            "Content-Digest": "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmT"
            "HWXvJwew==:",
            "Content-Length": "18",
        }
    )


@dataclass(frozen=True)
class Response:
    """The response of appendix B.2."""

    status_code: int = 200
    request: Request = field(default_factory=Request)
    headers: Mapping[str, str] = field(
        default_factory=lambda: {
            "Date": "Tue, 20 Apr 2021 02:07:56 GMT",
            "Content-Type": "application/json",
            "Content-Digest": "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4"
            "l5aGgfLQ==:",
            "Content-Length": "23",
        }
    )


VECTORS: Final[dict[str, tuple[Request | Response, str, str]]] = {
    "B.2.1": (
        Request(),
        '();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
        (
            "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7C"
            "hG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsf"
            "xVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C"
            "8ssinQ98Xw9Q=="
        ),
    ),
    "B.2.2": (
        Request(),
        (
            '("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";'
            'tag="header-example"'
        ),
        (
            "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxC"
            "mT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2"
            "fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaV"
            "e4bXTugEjHSw=="
        ),
    ),
    "B.2.3": (
        Request(),
        (
            '("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");'
            'created=1618884473;keyid="test-key-rsa-pss"'
        ),
        (
            "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0"
            "fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xM"
            "y7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIz"
            "tsDZKEgM4cUA=="
        ),
    ),
    "B.2.4": (
        Response(),
        '("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256"',
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
    ),
    "B.2.6": (
        Request(),
        (
            '("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;'
            'keyid="test-key-ed25519"'
        ),
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
    ),
}


def verify(message: Request | Response, signature_input: str, signature: str) -> str:
    """The signature base that was verified. Raises `InvalidSignature`."""
    name = signature_input.partition('keyid="')[2].partition('"')[0]
    key = load_public_key(f"-----BEGIN PUBLIC KEY-----\n{KEYS[name]}\n-----END PUBLIC KEY-----\n".encode())
    algorithm = algorithm_of(key)
    assert algorithm is not None
    resolver = MappingKeyResolver(public_keys={name: key}, private_keys={})
    verifier = _Verifier(signature_algorithm=ALGORITHMS[algorithm], key_resolver=resolver)
    headers = {**message.headers, "Signature-Input": f"sig={signature_input}", "Signature": f"sig=:{signature}:"}
    signed = (
        Request(headers=headers) if isinstance(message, Request) else Response(message.status_code, headers=headers)
    )
    (verified,) = verifier.verify(signed, max_age=None)
    return signature_base(verified)


@pytest.mark.parametrize("vector", VECTORS)
def test_the_examples_of_the_standard_verify(vector: str) -> None:
    message, signature_input, signature = VECTORS[vector]
    base = verify(message, signature_input, signature)
    assert base.endswith(f'"@signature-params": {signature_input}')


def test_the_base_is_that_of_the_standard() -> None:
    assert verify(*VECTORS["B.2.6"]) == (
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@method": POST\n'
        '"@path": /foo\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        '"content-length": 18\n'
        '"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");'
        'created=1618884473;keyid="test-key-ed25519"'
    )


@pytest.mark.parametrize("vector", VECTORS)
def test_the_examples_spoilt_do_not_verify(vector: str) -> None:
    message, signature_input, signature = VECTORS[vector]
    with pytest.raises(InvalidSignature):
        verify(message, signature_input.replace("1618884473", "1618884474"), signature)
    with pytest.raises(InvalidSignature):
        verify(message, signature_input, "AAAA" + signature[4:])
