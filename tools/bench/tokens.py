"""Measures the verifier's `verify_jwt` beside bare PyJWT: the same token, the same key loaded, in turn in one process.

    python -m tools.bench.tokens [--rounds 40]

Microseconds of processor time a token, each the best of its rounds. PyJWT checks signature, audience, issuer and
times, as it does by default; it reads JSON as Python does, and looks at nothing else.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from verifier import parse_jwks, verify_jwt

if TYPE_CHECKING:
    from collections.abc import Callable

ISSUER: Final = "https://issuer.example/issuers/default"
AUDIENCE: Final = "https://service.example"
_TOKENS_A_ROUND: Final = 100


class Cost(NamedTuple):
    """Of one token: microseconds of processor time."""

    algorithm: str
    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        """Our rate over PyJWT's."""
        return self.bare / self.ours


def measure(rounds: int) -> list[Cost]:
    """For each algorithm that services issue tokens with as a rule."""
    return [
        _measured("ES256", ec.generate_private_key(ec.SECP256R1()), ECAlgorithm.to_jwk, rounds),
        _measured("RS256", rsa.generate_private_key(65537, 2048), RSAAlgorithm.to_jwk, rounds),
        _measured("EdDSA", ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm.to_jwk, rounds),
    ]


def _measured(
    algorithm: str,
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    to_jwk: Callable[..., str],
    rounds: int,
) -> Cost:
    public = private.public_key()
    entry = json.loads(to_jwk(public)) | {"kid": "k1", "use": "sig", "alg": algorithm}
    entry.pop("key_ops", None)
    keys = parse_jwks(json.dumps({"keys": [entry]}).encode())
    token = jwt.encode(_claims(), private, algorithm=algorithm, headers={"kid": "k1", "typ": "JWT"})

    def bare() -> None:
        jwt.decode(token, public, algorithms=[algorithm], audience=AUDIENCE, issuer=ISSUER)

    def ours() -> None:
        verify_jwt(token, keys, issuer=ISSUER, audience=AUDIENCE)

    costs: dict[Callable[[], None], float] = {}
    for _ in range(rounds):
        for one in (bare, ours):
            costs[one] = min(costs.get(one, float("inf")), _round(one))
    return Cost(algorithm, costs[ours], costs[bare])


def _claims() -> dict[str, object]:
    """As the service issues them."""
    moment = int(datetime.now(UTC).timestamp())
    times = {"iat": moment, "nbf": moment, "exp": moment + 3600}
    return {"iss": ISSUER, "aud": AUDIENCE, **times, "jti": "2d0bba1c-5b43-4a4e-93f0-8f8e3f5c9a11", "sub": "user-1234"}


def _round(once: Callable[[], None]) -> float:
    begun = time.process_time()
    for _ in range(_TOKENS_A_ROUND):
        once()
    return (time.process_time() - begun) / _TOKENS_A_ROUND * 1e6


def main() -> None:
    """Prints one line an algorithm."""
    parser = argparse.ArgumentParser(description="verify_jwt beside bare PyJWT")
    parser.add_argument("--rounds", type=int, default=40)
    for cost in measure(parser.parse_args().rounds):
        print(
            f"{cost.algorithm:<6} {cost.ours:8.1f} us a token, PyJWT {cost.bare:8.1f} us: {cost.ratio:.2f} of its rate"
        )


if __name__ == "__main__":
    main()
