"""Contracts of the calls that encrypt, authenticate, agree and verify."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import cryptography as answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import KEY_ID

_REQUEST_ID: Final = "7d1a2e4f5b8c9d0e1f2a3b4c5d4b0c6f"
_MATERIAL: Final = "9f2c4e1a7b3d5f60819a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70"
_CONTEXT: Final = {"host": "db1"}


def _done(algorithm: str, **members: object) -> dict[str, object]:
    common = {"key_id": KEY_ID, "key_version": 1, "algorithm": algorithm, "request_id": _REQUEST_ID}
    return {"results": [common | members]}


def _encrypted(**members: object) -> dict[str, object]:
    return _done("SYMMETRIC_DEFAULT", material_id=_MATERIAL, **members)


_OPENED: Final = _encrypted(plaintext="Y29ycmVjdCBob3JzZQ==")
_DECRYPTION: Final = {"ciphertext": "AQEB…", "context": _CONTEXT}
_DATA_KEY: Final = {"spec": "AES_256", "context": _CONTEXT}
_PAIR: Final = {"spec": "ECC_NIST_P256", "context": _CONTEXT}
_MADE_PAIR: Final[dict[str, object]] = {
    "spec": "ECC_NIST_P256",
    "public_key": "MFkwEwYH…",
    "private_key_ciphertext": "AQEB…",
}
_USED: Final = {
    "key_id": KEY_ID,
    "key_version": 1,
    "algorithm": "SYMMETRIC_DEFAULT",
    "material_id": _MATERIAL,
}
# The other side's: a P-256 key of nobody.
_POINT: Final = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMmnvCB21I2VSgCSx7b09K4tDXfrlxiR07RJanmquftCvcy9F8mqb6NKNgyaPasVSw+QMiNIeEwU5"
    "n97JeILMRg=="
)
_MESSAGE: Final = "eyJldmVudCI6InBhaWQifQ=="

CRYPTOGRAPHY: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "POST /v1/keys/<key>/encrypt": Contract(
            answers.MadeCiphertexts,
            _encrypted(ciphertext="AQEB…"),
            {"plaintext": "Y29ycmVjdCBob3JzZQ==", "context": _CONTEXT},
            key="vault",
        ),
        "POST /v1/keys/<key>/decrypt": Contract(answers.OpenedCiphertexts, _OPENED, _DECRYPTION, key="vault"),
        "POST /v1/decrypt": Contract(answers.OpenedCiphertexts, _OPENED, _DECRYPTION),
        "POST /v1/keys/<key>/data-keys": Contract(
            answers.MadeDataKeys, _encrypted(ciphertext="AQEB…", plaintext="q83v…"), _DATA_KEY, key="vault"
        ),
        "POST /v1/keys/<key>/data-keys/without-plaintext": Contract(
            answers.MadeCiphertexts, _encrypted(ciphertext="AQEB…"), _DATA_KEY, key="vault"
        ),
        "POST /v1/keys/<key>/data-key-pairs": Contract(
            answers.MadeOpenPairs,
            _encrypted(**_MADE_PAIR, private_key="MIGHAgEA…"),
            _PAIR,
            key="vault",
        ),
        "POST /v1/keys/<key>/data-key-pairs/without-plaintext": Contract(
            answers.MadePairs, _encrypted(**_MADE_PAIR), _PAIR, key="vault"
        ),
        "POST /v1/keys/<key>/re-encrypt": Contract(
            answers.MovedCiphertexts,
            {
                "results": [
                    {**_USED, "request_id": _REQUEST_ID, "ciphertext": "AQEB…", "source": _USED},
                ]
            },
            {**_DECRYPTION, "destination": "vault", "destination_context": {"host": "db2"}},
            key="vault",
        ),
        "POST /v1/keys/<key>/shared-secrets": Contract(
            answers.AgreedSecrets, _done("ECDH", shared_secret="kX0v…"), {"public_key": _POINT}, key="meeting"
        ),
        "POST /v1/keys/<key>/encapsulate": Contract(
            answers.EncapsulatedSecrets,
            _done("ML_KEM", shared_secret="kX0v…", ciphertext="pWm1…"),
            {"algorithm": "ML_KEM"},
            key="quantum",
        ),
        "POST /v1/keys/<key>/decapsulate": Contract(
            answers.AgreedSecrets, _done("ML_KEM", shared_secret="kX0v…"), {"ciphertext": "pWm1…"}, key="quantum"
        ),
        "POST /v1/keys/<key>/macs": Contract(
            answers.MadeMacs, _done("HMAC_SHA_256", mac="3q2+7w…"), {"message": _MESSAGE}, key="webhooks"
        ),
        "POST /v1/keys/<key>/macs/verify": Contract(
            answers.ValidMacs,
            _done("HMAC_SHA_256", valid=True),
            {"message": _MESSAGE, "mac": "3q2+7w…"},
            key="webhooks",
        ),
        "POST /v1/keys/<key>/signatures/verify": Contract(
            answers.ValidSignatures,
            _done("ECDSA_SHA_256", valid=True, signed_by_version=1),
            {"message": "aGVsbG8K", "signature": "MEUCIQD…"},
            key="device",
        ),
        "POST /v1/random": Contract(answers.MadeRandom, {"random": "hT3y…"}, {"number_of_bytes": 32}),
    }
)  # fmt: skip
