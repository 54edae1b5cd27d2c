"""npm's @sigstore/verify, offline, accepts what the running service makes, and refuses it with one byte changed.

Keys, certificates and signatures come over HTTP from a service on a real HSM; the verifier is Node.js with npm's own
packages, which know nothing of Sealmark.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.hsm_support import token  # noqa: F401  # a fixture
from tests.interop.conftest import ROOT
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm.token import Token

CONTENT: Final = b"\x7fELF a release\n" * 100
SPECS: Final = ("ECC_NIST_P256", "RSA_2048")
FORMATS: Final = ("bundle", "attestation")
