"""The labels of the service's own objects on a token; one object bears each."""

from __future__ import annotations

import re
from typing import Final

REGION: Final = "region"
INTEGRITY: Final = "integrity"
LOG: Final = "log"
LOG_HEADS: Final = ("log-head/0", "log-head/1")  # of data objects, whose label is their text
DOMAIN_PREFIX: Final = "domain/"
TOKEN_KEY_PREFIX: Final = "key/"  # of key versions that stay on the token
LINK_PREFIX: Final = "link/"  # what two deployments that share a domain of multi-region keys prove themselves by
DOMAIN_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_DOMAIN_LABEL: Final = re.compile(rf"domain/({DOMAIN_NAME.pattern})/([1-9][0-9]{{0,5}})")


def domain_label(name: str, version: int) -> str:
    """`domain/NAME/VERSION`, the label of one version of a domain key."""
    label = f"{DOMAIN_PREFIX}{name}/{version}"
    if not _DOMAIN_LABEL.fullmatch(label):
        raise ValueError(f"not a domain's name and version: {label!r}")
    return label


def parse_domain_label(label: str) -> tuple[str, int] | None:
    """(name, version) of a domain key's label, None of any other."""
    match = _DOMAIN_LABEL.fullmatch(label)
    return (match[1], int(match[2])) if match else None


def link_label(name: str) -> str:
    """`link/NAME`, the label of the link key of a domain of multi-region keys."""
    if not DOMAIN_NAME.fullmatch(name):
        raise ValueError(f"not a domain's name: {name!r}")
    return f"{LINK_PREFIX}{name}"


def parse_link_label(label: str) -> str | None:
    """The domain's name of a link key's label, None of any other."""
    name = label.removeprefix(LINK_PREFIX)
    return name if label.startswith(LINK_PREFIX) and DOMAIN_NAME.fullmatch(name) else None
