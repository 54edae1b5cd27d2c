"""The two forms in which a request says that it is signed by AWS Signature Version 4: the Authorization header, and
parameters of the query (presigned). Read strictly, before anything is verified.

Source: IAM User Guide, "Elements of an AWS API request signature" and "Authentication methods".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from signer.authn.refused import Kind, Refused
from signer.authn.sigv4_canonical import ALGORITHM, TERMINATOR

if TYPE_CHECKING:
    from signer.call import Call

LONGEST_LIFE: Final = timedelta(days=7)  # of a presigned request: 604800 s
DATE_FORM: Final = "%Y%m%dT%H%M%SZ"
_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAMES: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+(;[a-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9]{16,128}", re.ASCII)
# What a presigned request adds to its query: never a parameter of the call itself.
PARAMETERS: Final = frozenset(
    f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token")
)
_PRESIGNED: Final = ("x-amz-algorithm", "x-amz-credential", "x-amz-signature", "x-amz-signedheaders")
_ELEMENTS: Final = ("Credential", "SignedHeaders", "Signature")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose secret signs, for which day, region and service."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str

    @property
    def signed(self) -> str:
        """As it stands in what is signed."""
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a request says of its signature. `life` is a presigned request's own (X-Amz-Expires), else None."""

    scope: Scope
    signed_headers: tuple[str, ...]
    signature: str
    moment: datetime
    moment_text: str
    session_token: str | None = field(repr=False)
    life: timedelta | None = None


def is_signed(call: Call) -> bool:
    """Whether the call claims to be signed so, in one form or the other."""
    return in_header(call) or in_query(call)


def in_header(call: Call) -> bool:
    """Whether its Authorization is one of AWS's."""
    return (call.authorization or "")[:4].upper() == "AWS4"


def in_query(call: Call) -> bool:
    """Whether its query says so."""
    query = call.target.partition("?")[2]
    if "mz-" not in query.lower():
        return False
    return any(name.lower() in _PRESIGNED for name, _ in _parameters(query))


def read(call: Call) -> SignedRequest:
    """What the call says. Raises `Refused`."""
    if in_header(call):
        return _of_header(call)
    return _of_query(call)


def _of_header(call: Call) -> SignedRequest:
    algorithm, _, rest = (call.authorization or "").partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete("Authorization names another algorithm", f"Unsupported AWS 'algorithm': only {ALGORITHM}.")
    elements: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip(" \t").partition("=")
        if not equals or name in elements or name not in _ELEMENTS:
            raise _incomplete("Authorization holds something else than one Credential, SignedHeaders and Signature")
        elements[name] = value
    for name in _ELEMENTS:
        if name not in elements:
            words = f"Authorization header requires '{name}' parameter."
            raise _incomplete(f"Authorization has no {name}", words)
    moment, text = _moment_of_header(call)
    return SignedRequest(
        _scope(elements["Credential"]),
        _names(elements["SignedHeaders"]),
        _signature(elements["Signature"]),
        moment,
        text,
        call.headers.get("x-amz-security-token"),
    )


def _of_query(call: Call) -> SignedRequest:
    given: dict[str, str] = {}
    for name, value in _parameters(call.target.partition("?")[2]):
        if name.lower().startswith("x-amz-"):
            if name in given:
                raise _incomplete("the query has one of its signature's parameters twice")
            given[name] = value
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"):
        if f"X-Amz-{name}" not in given:
            words = f"AWS query-string parameters must include 'X-Amz-{name}'."
            raise _incomplete(f"the query has no X-Amz-{name}", words)
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete("the query names another algorithm", f"Unsupported AWS 'algorithm': only {ALGORITHM}.")
    life = given["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,6}", life, re.ASCII) or not 1 <= int(life) <= LONGEST_LIFE.total_seconds():
        raise _incomplete("X-Amz-Expires is not 1 to 604800", "X-Amz-Expires must be less than a week (in seconds).")
    if "x-amz-date" in call.headers or "x-amz-security-token" in call.headers:
        raise _incomplete("a presigned request says its date or session token in a header too")
    return SignedRequest(
        _scope(given["X-Amz-Credential"]),
        _names(given["X-Amz-SignedHeaders"]),
        _signature(given["X-Amz-Signature"]),
        _moment(given["X-Amz-Date"]),
        given["X-Amz-Date"],
        given.get("X-Amz-Security-Token"),
        timedelta(seconds=int(life)),
    )


def _parameters(query: str) -> list[tuple[str, str]]:
    """Names and values, unescaped as the canonical form has them; what is not UTF-8 fits nothing."""
    found = []
    for part in query.replace("+", " ").split("&"):
        name, _, value = part.partition("=")
        found.append((_text(name), _text(value)))
    return found


def _text(escaped: str) -> str:
    return unquote_to_bytes(escaped.encode("latin-1", "replace")).decode("utf-8", "replace")


def _scope(credential: str) -> Scope:
    parts = credential.split("/")
    if len(parts) != 5:
        words = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        raise _incomplete("Credential has not five parts", words)
    if not _ID.fullmatch(parts[0]):
        raise Refused("Credential begins with no access key's id")
    return Scope(*parts)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if not _NAMES.fullmatch(text) or list(names) != sorted(set(names)):
        raise _incomplete("SignedHeaders are not names in lower case, sorted, each once")
    return names


def _signature(text: str) -> str:
    if not _SIGNATURE.fullmatch(text):
        raise _incomplete("Signature is not 64 lower-case hex digits")
    return text


def _moment_of_header(call: Call) -> tuple[datetime, str]:
    """X-Amz-Date, or where there is none Date, which may also be an HTTP date (RFC 9110 section 5.6.7)."""
    text = call.headers.get("x-amz-date")
    if text is not None:
        return _moment(text), text
    date = call.headers.get("date")
    if date is None:
        words = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        raise _incomplete("there is neither X-Amz-Date nor Date", words)
    if _DATE.fullmatch(date):
        return _moment(date), date
    try:
        moment = parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _incomplete("Date is no date") from error
    return moment, moment.strftime(DATE_FORM)


def _moment(text: str) -> datetime:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)
        return datetime.strptime(text, DATE_FORM).replace(tzinfo=UTC)
    except ValueError as error:
        words = "Date must be in ISO-8601 'basic format', such as 20150830T123600Z."
        raise _incomplete("X-Amz-Date is not of the form 20150830T123600Z", words) from error


def require_scope(request: SignedRequest, region: str, service: str) -> None:
    """Whether the signature is for this service, here, on the day that it says. Raises `Refused`."""
    scope = request.scope
    wrong = [
        (scope.region != region, f"Credential should be scoped to a valid region, here '{region}'."),
        (scope.service != service, f"Credential should be scoped to correct service: '{service}'."),
        (scope.terminator != TERMINATOR, f"Credential should be scoped with a valid terminator: '{TERMINATOR}'."),
        (
            scope.date != request.moment_text[:8],
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
        ),
    ]
    words = " ".join(text for is_wrong, text in wrong if is_wrong)
    if words:
        raise Refused(f"the credential's scope is not this service's: {words}", Kind.WRONG, words)


def _incomplete(reason: str, words: str | None = None) -> Refused:
    return Refused(reason, Kind.INCOMPLETE, words)
