"""A service provider on python3-saml: its settings from the identity provider's published metadata, and a login.

    service_provider.py settings SP.json METADATA.xml > settings.json
    service_provider.py login settings.json RESPONSE.xml REQUEST_ID

Fetch the metadata over https, or have them handed to you: who can change them can log in as anyone.
"""

from __future__ import annotations

import base64
import json
import sys
from copy import deepcopy
from pathlib import Path
from urllib.parse import urlsplit

from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings


def settings(own: str, metadata: str) -> None:
    """Print the complete settings: ours, with the identity provider's entity id and certificates."""
    found = OneLogin_Saml2_IdPMetadataParser.parse(Path(metadata).read_bytes())
    merged = OneLogin_Saml2_IdPMetadataParser.merge_settings(json.loads(Path(own).read_bytes()), {"idp": found["idp"]})
    OneLogin_Saml2_Settings(deepcopy(merged))  # raises where something is missing, and fills in its defaults
    json.dump(merged, sys.stdout, indent=2)


def login(ready: str, response: str, request_id: str) -> None:
    """Judge a response that answers our request, and print who logged in."""
    own = json.loads(Path(ready).read_bytes())
    place = urlsplit(own["sp"]["assertionConsumerService"]["url"])
    request = {"https": "on", "http_host": place.netloc, "script_name": place.path, "get_data": {}, "post_data": {}}
    encoded = base64.b64encode(Path(response).read_bytes()).decode()
    judged = OneLogin_Saml2_Response(OneLogin_Saml2_Settings(own), encoded)
    if not judged.is_valid(request, request_id):
        sys.exit(f"refused: {judged.get_error()}")
    json.dump({"name_id": judged.get_nameid(), "attributes": judged.get_attributes()}, sys.stdout)


def main() -> None:
    """By the first word of the command line."""
    match sys.argv[1:]:
        case ["settings", own, metadata]:
            settings(own, metadata)
        case ["login", ready, response, request_id]:
            login(ready, response, request_id)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
