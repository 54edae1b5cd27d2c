"""The values of conditions, by type: read strictly from a policy, and compared with those of a request.

A value of a request that is not of the type matches nothing.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeVar

from signer.access.patterns import ascii_lower, glob

if TYPE_CHECKING:
    from collections.abc import Callable

    Matcher = Callable[[str], bool]
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_Value = TypeVar("_Value")

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?"
)
_YEAR_OR_MONTH: Final = re.compile(r"[0-9]{4}(-[0-9]{2})?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")  # IPv4-mapped (RFC 4291 §2.5.5.2)
_ARN_PARTS: Final = 6
_COMPARISONS: Final = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}


def parse_number(text: str) -> Decimal:
    """Raises `ValueError` with what would be right."""
    if not _NUMBER.fullmatch(text):
        msg = "this must be a number, such as 900 or 0.5"
        raise ValueError(msg)
    return Decimal(text)


def parse_date(text: str) -> Decimal:
    """Seconds since 1970-01-01T00:00:00Z. Raises `ValueError` with what would be right.

    A year alone is a year, as in W3C's formats of ISO 8601, which AWS names: no second of 1970.
    """
    if _YEAR_OR_MONTH.fullmatch(text):
        text += "-01-01" if "-" not in text else "-01"
    if _NUMBER.fullmatch(text):
        return Decimal(text)
    try:
        moment = datetime.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:  # such as the 31st of February
        moment = None
    if moment is None:
        msg = "this must be a date such as 2026-03-01T00:00:00Z (RFC 3339), or seconds since 1970"
        raise ValueError(msg)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return Decimal(since // timedelta(microseconds=1)).scaleb(-6)


def parse_boolean(text: str) -> bool:
    """Raises `ValueError` with what would be right."""
    lowered = ascii_lower(text)
    if lowered not in {"true", "false"}:
        msg = "this must be true or false"
        raise ValueError(msg)
    return lowered == "true"


def parse_network(text: str) -> Network:
    """An address or a range; an IPv4-mapped one as its IPv4. Raises `ValueError` with what would be right."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        msg = "this must be an IP address or a range without host bits, such as 203.0.113.0/24 or 2001:db8::/32"
        raise ValueError(msg) from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((int(mapped or 0), network.prefixlen - _MAPPED.prefixlen))
    return network


def parse_arn(text: str) -> str:
    """An ARN, maybe with wildcards within its six parts. Raises `ValueError` with what would be right."""
    parts = text.split(":", _ARN_PARTS - 1)
    if len(parts) != _ARN_PARTS or parts[0] != "arn" or not parts[-1]:
        msg = (
            "this must be an ARN of six parts, such as arn:aws:iam::000000000000:role/ci; * and ? stand within one part"
        )
        raise ValueError(msg)
    return text


def number_matcher(comparison: str) -> Callable[[tuple[str, ...]], Matcher]:
    """The matcher of a numeric operator."""
    return _comparing(comparison, parse_number)


def date_matcher(comparison: str) -> Callable[[tuple[str, ...]], Matcher]:
    """The matcher of a date operator."""
    return _comparing(comparison, parse_date)


def boolean_matcher(values: tuple[str, ...]) -> Matcher:
    """The matcher of `Bool`."""
    wanted = frozenset(parse_boolean(value) for value in values)
    return lambda text: _or_none(parse_boolean, text) in wanted


def ip_matcher(values: tuple[str, ...]) -> Matcher:
    """The matcher of `IpAddress`."""
    networks = tuple(parse_network(value) for value in values)

    def matches(text: str) -> bool:
        address = _or_none(_parse_address, text)
        return address is not None and any(address in network for network in networks)

    return matches


def arn_matcher(values: tuple[str, ...]) -> Matcher:
    """The matcher of `ArnLike`: each of the six parts by itself, so that no wildcard reaches over a colon of the first
    five."""
    patterns = tuple(tuple(glob(part) for part in value.split(":", _ARN_PARTS - 1)) for value in values)

    def matches(text: str) -> bool:
        parts = text.split(":", _ARN_PARTS - 1)
        return len(parts) == _ARN_PARTS and any(
            len(pattern) == _ARN_PARTS and all(test(part) for test, part in zip(pattern, parts, strict=True))
            for pattern in patterns
        )

    return matches


def _comparing(comparison: str, parse: Callable[[str], Decimal]) -> Callable[[tuple[str, ...]], Matcher]:
    compare = _COMPARISONS[comparison]

    def matcher(values: tuple[str, ...]) -> Matcher:
        wanted = tuple(parse(value) for value in values)

        def matches(text: str) -> bool:
            actual = _or_none(parse, text)
            return actual is not None and any(compare(actual, value) for value in wanted)

        return matches

    return matcher


def _parse_address(text: str) -> Address:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _or_none(parse: Callable[[str], _Value], text: str) -> _Value | None:
    try:
        return parse(text)
    except ValueError:
        return None
