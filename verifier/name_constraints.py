"""Name constraints of authorities (RFC 5280 section 4.2.1.10): which names the certificates below one may hold.

Compared are distinguished names, host names, URIs, mail addresses and IP addresses. A constraint of another kind cannot
be judged, and a name that cannot be read cannot be cleared: both are refusals. Where the standard leaves room, a name
counts as excluded rather than not, and as permitted only if it plainly is.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from verifier.certificates import extension, name_of
from verifier.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

MAXIMUM_COMPARISONS: Final = 1 << 16  # names times constraints, for one certificate under one authority

# RFC 3986 section 3.2, without IP literals and percent-encoded hosts, which readers take apart differently.
_URI: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._~!$&'()*+,;=:%-]*@)?([a-z0-9._-]+)(?::[0-9]*)?(?:[/?#].*)?", re.IGNORECASE
)
_JUDGED: Final = (
    x509.DirectoryName,
    x509.DNSName,
    x509.UniformResourceIdentifier,
    x509.RFC822Name,
    x509.IPAddress,
)


def check_name_constraints(chain: Sequence[x509.Certificate]) -> None:
    """Rejected if an authority of the chain (leaf first) does not allow a name of a certificate below it.

    An authority's own renewal (subject and issuer alike) is exempt, the leaf never is (RFC 5280 section 6.1.3).
    """
    for position, authority in enumerate(chain[1:], start=1):
        constraints = extension(authority, x509.NameConstraints)
        if constraints is None:
            continue
        for below, certificate in enumerate(chain[:position]):
            if below == 0 or certificate.subject != certificate.issuer:
                _check(certificate, constraints, name_of(authority))


def _check(certificate: x509.Certificate, constraints: x509.NameConstraints, authority: str) -> None:
    permitted, excluded = constraints.permitted_subtrees or [], constraints.excluded_subtrees or []
    who = name_of(certificate)
    try:
        names = _names_of(certificate)
    except ValueError as error:
        raise Rejected("certificate_not_suitable", f"A mail address in the certificate of {who} is none.") from error
    if len(names) * (len(permitted) + len(excluded)) > MAXIMUM_COMPARISONS:
        raise Rejected("too_large", f"The certificate of {who} has too many names to hold against {authority}.")
    if any(not isinstance(subtree, _JUDGED) for subtree in (*permitted, *excluded)):
        message = f"The authority {authority} limits names of a kind that this verifier cannot judge."
        raise Rejected("certificate_not_suitable", message)
    for name in names:
        try:
            allowed = _is_allowed(name, permitted, excluded)
        except ValueError:
            allowed = False
        if not allowed:
            message = f"The authority {authority} may not certify the name {_text(name)} of {who}."
            raise Rejected("certificate_not_suitable", message)


def _names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """The subject, the mail addresses in it, and the alternative names. ValueError for an address that is none."""
    subject = certificate.subject
    names: list[x509.GeneralName] = [x509.DirectoryName(subject)] if subject.rdns else []
    alternative = extension(certificate, x509.SubjectAlternativeName)
    names += alternative or ()
    for each in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        names.append(x509.RFC822Name(str(each.value)))
    return names


def _is_allowed(
    name: x509.GeneralName, permitted: Sequence[x509.GeneralName], excluded: Sequence[x509.GeneralName]
) -> bool:
    """ValueError for a name whose kind is limited and that cannot be read."""
    kind = type(name)
    if any(_within(name, subtree, wide=True) for subtree in excluded if isinstance(subtree, kind)):
        return False
    limits = [subtree for subtree in permitted if isinstance(subtree, kind)]
    return not limits or any(_within(name, subtree, wide=False) for subtree in limits)


def _within(name: x509.GeneralName, subtree: x509.GeneralName, *, wide: bool) -> bool:
    """Whether the name lies in the subtree; `wide` where a doubt has to count as yes."""
    if isinstance(name, x509.DirectoryName) and isinstance(subtree, x509.DirectoryName):
        return _directory_within(name.value, subtree.value)
    if isinstance(name, x509.DNSName) and isinstance(subtree, x509.DNSName):
        return _dns_within(name.value, subtree.value, wide=wide)
    if isinstance(name, x509.UniformResourceIdentifier) and isinstance(subtree, x509.UniformResourceIdentifier):
        return _host_within(_host_of(name.value), subtree.value)
    if isinstance(name, x509.RFC822Name) and isinstance(subtree, x509.RFC822Name):
        return _mail_within(name.value, subtree.value, wide=wide)
    if isinstance(name, x509.IPAddress) and isinstance(subtree, x509.IPAddress):
        network = subtree.value
        if not isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network):
            raise ValueError("not a network")
        return name.value in network
    raise ValueError("names of two kinds")


def _directory_within(name: x509.Name, base: x509.Name) -> bool:
    """RFC 5280 section 7.1: the base's parts stand first; compared without case, width or runs of white space."""
    parts, wanted = ([_normal(part) for part in each.rdns] for each in (name, base))
    return parts[: len(wanted)] == wanted


def _normal(part: x509.RelativeDistinguishedName) -> frozenset[tuple[str, str]]:
    return frozenset(
        (each.oid.dotted_string, " ".join(unicodedata.normalize("NFKC", str(each.value)).casefold().split()))
        for each in part
    )


def _dns_within(name: str, base: str, *, wide: bool) -> bool:
    """The base and everything under it; a wildcard lies in an excluded base if a name that it stands for does."""
    host, limit = _host(name), base.lower().rstrip(".")
    if not wide:
        return _is_under(host, limit) if limit.startswith(".") else not limit or host == limit or _is_under(host, limit)
    limit = limit.removeprefix(".")
    host, is_wildcard = host.removeprefix("*."), host.startswith("*.")
    return not limit or host == limit or _is_under(host, limit) or (is_wildcard and _is_under(limit, host))


def _is_under(host: str, base: str) -> bool:
    return host.endswith("." + base.removeprefix("."))


def _host_within(host: str, base: str) -> bool:
    """URIs and mail domains: that host alone, or with a leading dot every host under it but not itself."""
    limit = base.lower().rstrip(".")
    return _is_under(host, limit) if limit.startswith(".") else not limit or host == limit


def _host_of(uri: str) -> str:
    """RFC 5280: a URI without a host name cannot be held against a constraint (so `urn:` is never permitted)."""
    match = _URI.fullmatch(uri)
    if match is None or match[1].replace(".", "").isdigit():
        raise ValueError("a URI without a host name")
    return _host(match[1])


def _host(text: str) -> str:
    host = text.lower().rstrip(".")
    if not host or any(not label for label in host.split(".")):
        raise ValueError("not a host name")
    return host


def _mail_within(name: str, base: str, *, wide: bool) -> bool:
    """A mailbox, a host, or with a leading dot the hosts under it. The part before the @ is the host's to compare."""
    mailbox, at_sign, domain = name.rpartition("@")
    if not mailbox or not at_sign:
        raise ValueError("not a mail address")
    host = _host(domain)
    if "@" not in base:
        return _host_within(host, base)
    wanted, _, wanted_host = base.rpartition("@")
    same = mailbox.casefold() == wanted.casefold() if wide else mailbox == wanted
    return same and host == wanted_host.lower().rstrip(".")


def _text(name: x509.GeneralName) -> str:
    value = name.value
    return value.rfc4514_string() if isinstance(value, x509.Name) else str(value)
