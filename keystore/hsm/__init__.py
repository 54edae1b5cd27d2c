"""The HSM: the only folder that speaks PKCS#11. The keystore uses `open_token`, a ceremony uses `officer`."""

from keystore.hsm.token import Token, open_token

__all__ = ["Token", "open_token"]
