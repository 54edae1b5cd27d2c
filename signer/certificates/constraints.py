"""Name constraints of the built-in CA (RFC 5280 section 4.2.1.10): held before it signs, since a leaf outside of them
would be refused by every verifier, and only there.

Knows the kinds of names that the CA's leaves have: directory names and URIs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509

from signer.errors import Unprocessable

if TYPE_CHECKING:
    from collections.abc import Sequence


def permitted_name(issuer: x509.Certificate) -> x509.Name | None:
    """The one directory name below which the CA's subjects must lie; None if it permits any, or several."""
    subtrees = _constraints(issuer)[0]
    names = [entry.value for entry in subtrees if isinstance(entry, x509.DirectoryName)]
    return names[0] if len(names) == 1 else None


def require_within(issuer: x509.Certificate, subject: x509.Name, alternative_names: Sequence[x509.GeneralName]) -> None:
    """Pass if the issuer may certify these names. Raises `Unprocessable` naming the first that it may not."""
    permitted, excluded = _constraints(issuer)
    for name in (x509.DirectoryName(subject), *alternative_names):
        subtrees = [entry for entry in permitted if isinstance(entry, type(name))]
        if (subtrees and not any(_matches(entry, name) for entry in subtrees)) or any(
            _matches(entry, name) for entry in excluded if isinstance(entry, type(name))
        ):
            text = name.value.rfc4514_string() if isinstance(name, x509.DirectoryName) else str(name.value)
            message = f"the name constraints of the certificate authority do not allow {text}"
            raise Unprocessable(message, field="subject")


def _constraints(issuer: x509.Certificate) -> tuple[list[x509.GeneralName], list[x509.GeneralName]]:
    try:
        found = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return [], []
    return list(found.permitted_subtrees or ()), list(found.excluded_subtrees or ())


def _matches(subtree: x509.GeneralName, name: x509.GeneralName) -> bool:
    """Whether the name lies in the subtree; a kind that is not known here lies in every one of its kind."""
    if isinstance(subtree, x509.DirectoryName) and isinstance(name, x509.DirectoryName):
        return list(name.value.rdns[: len(subtree.value.rdns)]) == list(subtree.value.rdns)
    if isinstance(subtree, x509.UniformResourceIdentifier) and isinstance(name, x509.UniformResourceIdentifier):
        host = (urlsplit(name.value).hostname or "").lower()
        wanted = subtree.value.lower()
        return host.endswith(wanted) if wanted.startswith(".") else host == wanted
    return True
