"""Equal changes within one second by boto3, which gets its credentials by `credential_process`; run by its own
environment.

Reads `{"url", "region", "process"}` from standard input: the command that prints credentials. Makes the same key three
times as fast as it can, and prints `{"keys": [ids], "retries": [each call's], "credential": access key's id}`. It
imports nothing of Sealmark.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import boto3
from botocore.config import Config


def main() -> None:
    """Prints what came of it."""
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "config"
        settings.write_text(f"[default]\ncredential_process = {given['process']}\n")
        os.environ["AWS_CONFIG_FILE"] = str(settings)
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(Path(folder) / "none")
        session = boto3.Session(region_name=given["region"])
        client = session.client("kms", endpoint_url=given["url"], config=Config(retries={"mode": "standard"}))
        made = [
            client.create_key(Description="made three times", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
            for _ in range(3)
        ]
        credentials = session.get_credentials()
        shown = {
            "keys": [each["KeyMetadata"]["KeyId"] for each in made],
            "retries": [each["ResponseMetadata"]["RetryAttempts"] for each in made],
            "credential": None if credentials is None else credentials.get_frozen_credentials().access_key,
        }
    sys.stdout.write(json.dumps(shown))


if __name__ == "__main__":
    main()
