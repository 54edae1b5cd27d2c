"""jwt-kms: tokens signed by keys of the service."""

from __future__ import annotations

import boto3
from jwt_kms import jwk, jws

from tests.interop.aws.clients.told import given, tell


def main() -> None:
    keys, kms = given()["keys"], boto3.client("kms")
    tokens = {}
    for algorithm, name in {"ES256": "sign", "ES384": "sign-384", "RS256": "rsa", "PS512": "rsa"}.items():
        key = jwk.Key(kms, keys[name])
        token = jws.JWS({"sub": "alice"}).add_signature(key, alg=algorithm).serialize(compact=True)
        tokens[algorithm] = {"token": token, "public": key.public_key_pem.decode()}
    tell(tokens=tokens)


if __name__ == "__main__":
    main()
