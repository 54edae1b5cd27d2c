"""A service provider on python3-saml, run by that library's own environment: one response judged, the verdict as JSON.

Called as `service_provider.py RESPONSE IDP_CERTIFICATE`, with the expectations as JSON on standard input. It imports
nothing of Sealmark.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings


def main() -> None:
    """Prints `{"accepted": bool, "reason": text, "name_id": text, "attributes": {...}}`."""
    response, certificate = (Path(name).read_bytes() for name in sys.argv[1:3])
    expected = json.load(sys.stdin)
    settings = OneLogin_Saml2_Settings(
        {
            "strict": True,
            "sp": {
                "entityId": expected["audience"],
                "assertionConsumerService": {"url": expected["recipient"]},
            },
            "idp": {
                "entityId": expected["issuer"],
                "singleSignOnService": {"url": expected["issuer"]},
                "x509cert": certificate.decode(),
            },
            "security": {
                "wantAssertionsSigned": "assertion" in expected["signed"],
                "wantMessagesSigned": "response" in expected["signed"],
                "rejectDeprecatedAlgorithm": True,
            },
        },
        sp_validation_only=False,
    )
    place = urlsplit(expected["recipient"])
    request = {"https": "on", "http_host": place.netloc, "script_name": place.path, "get_data": {}, "post_data": {}}
    judged = OneLogin_Saml2_Response(settings, base64.b64encode(response).decode())
    accepted = judged.is_valid(request, expected["request_id"])
    verdict = {"accepted": accepted, "reason": judged.get_error() or ""}
    if accepted:
        verdict |= {"name_id": judged.get_nameid(), "attributes": judged.get_attributes()}
    json.dump(verdict, sys.stdout)


if __name__ == "__main__":
    main()
