"""What python3-saml reads in SAML metadata and thinks of their signature, run by that library's own environment.

Called as `metadata_reader.py METADATA CERTIFICATE`. It imports nothing of Sealmark.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from onelogin.saml2.constants import OneLogin_Saml2_Constants
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser
from onelogin.saml2.utils import OneLogin_Saml2_Utils


def main() -> None:
    """Prints `{"signature_valid": bool, "settings": {...}}`."""
    metadata, certificate = (Path(name).read_bytes() for name in sys.argv[1:3])
    settings = OneLogin_Saml2_IdPMetadataParser.parse(
        metadata, required_sso_binding=OneLogin_Saml2_Constants.BINDING_HTTP_POST
    )
    valid = OneLogin_Saml2_Utils.validate_metadata_sign(metadata, cert=certificate.decode())
    json.dump({"signature_valid": valid, "settings": settings}, sys.stdout)


if __name__ == "__main__":
    main()
