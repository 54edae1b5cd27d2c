"""The page of every limit of the service: `python -m tools.limits > docs/limits.md`.

Limits that are named constants are listed in `NAMED`, in the words of a caller or an operator; the numbers are read
from the code. The bounds of request bodies are read from their types, as they are. A test holds the page to what this
prints, and finds constants that look like limits and are not listed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from msgspec import inspect

from keystore.configuration import DEFAULT_CACHE_SIZE, DEFAULT_SESSIONS, DEFAULT_TOKEN_KEYS
from signer.config import SERVER_RANGES, ServerConfiguration
from signer.web.routes import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterator

_ABOVE = """\
# Limits

Made from the code by `python -m tools.limits`; a test holds this page to it, and finds limits that are not on it. What
is over a limit is refused with its name; nothing is cut short. Limits of AWS's operations are those of AWS's own model
([the wire protocol](aws-kms.md)), where this page does not say otherwise.
"""


@dataclass(frozen=True, slots=True)
class Named:
    """A limit that has a name in the code: `module:CONSTANT`; `unit` follows the number."""

    where: str
    what: str
    unit: str = ""

    @property
    def value(self) -> Any:  # noqa: ANN401 - a number, a time or a collection
        """As the code has it."""
        module, _, name = self.where.partition(":")
        return getattr(import_module(module), name)


NAMED: Final[dict[str, tuple[Named, ...]]] = {
    "Requests": (
        Named("signer.web.http:MAXIMUM_BODY", "a request's body", "octets"),
        Named("signer.reception:MOST_HEAD", "a request's line and headers together", "octets"),
        Named("signer.server:LONGEST_REQUEST_LINE", "a request's first line", "octets"),
        Named("signer.server:MOST_HEADERS", "headers of a request"),
        Named("signer.request:MAXIMUM_BATCH", "items of one call"),
        Named("signer.web.paging:DEFAULT_LIMIT", "rows of a page, unless asked for otherwise"),
        Named("signer.web.paging:LARGEST_LIMIT", "rows of a page"),
        Named("signer.audit_questions:LONGEST_EXPORT", "entries of one export of the audit trail"),
        Named("signer.audit_reports:MOST_PERIODS", "days or weeks of one key's report"),
        Named("signer.usage:LONGEST_PERIOD_DAYS", "days of one look at the usage"),
        Named("signer.held:MAXIMUM_BODY", "a call that is held for approval", "octets"),
        Named("signer.strict_json:MAXIMUM_DEPTH", "objects and arrays inside each other, in signed JSON"),
        Named("signer.strict_json:MAXIMUM_INTEGER", "a whole number in signed JSON"),
        Named("signer.formats.json_values:MAXIMUM_INTEGER", "a whole number among claims"),
    ),
    "Busy workers": (
        Named("signer.admission:GRACE", "a call without a seat waits for a thread, then it is answered 429", "s"),
        Named("signer.admission:LONGEST_WAIT", "any call waits for a thread", "s"),
        Named("signer.admission:OCTETS_OF_ONE", "of a body weigh as much as a call without one", "octets"),
        Named("signer.problems:OVERLOADED_RETRY_SECONDS", "`Retry-After` of 429 `overloaded`", "s"),
        Named("signer.problems:RETRY_AFTER_SECONDS", "`Retry-After` of 503", "s"),
        Named("signer.receiving_worker:ANSWER_SECONDS", "a caller has to take its answer", "s"),
        Named("signer.outgoing:PIECE_SECONDS", "a caller has to take a piece of an export", "s"),
        Named("signer.outgoing:MOST_KEPT", "of an answer are kept for a slow reader", "octets"),
        Named("signer.receiving_worker:MOST_HELD", "of unfinished requests and answers are kept in a worker", "octets"),
        Named("signer.lane.company:MOST_SECONDS", "a call waits for others that were answered together with it", "s"),
        Named("signer.receiving_worker:LINGER_SECONDS", "a caller has to end a connection that was ended", "s"),
        Named("signer.config:KEEP_ALIVE_SECONDS", "a connection stays open on which nothing is asked", "s"),
        Named("keystore.db.patience:REQUEST_SECONDS", "all waits of one request for the database", "s"),
        Named("keystore.db.engine:LOCK_SECONDS", "a change waits for the database", "s"),
        Named("keystore.db.engine:CHANGE_SECONDS", "a change waits for another change that checks for long", "s"),
    ),
    "Quotas": (
        Named("signer.quota_settings:MOST_QUOTAS", "quotas of a deployment"),
        Named("signer.quota_settings:MOST_A_WINDOW", "requests or items of a window"),
    ),
    "Who calls": (
        Named("signer.authn.throttle:MOST", "failed attempts of a source before it must wait"),
        Named("signer.authn.throttle:WINDOW", "within which they are counted", "s"),
        Named("signer.authn.throttle:FIRST_WAIT", "the first wait; each further one is twice as long", "s"),
        Named("signer.authn.throttle:LONGEST_WAIT", "the longest wait", "s"),
        Named("signer.administration.credentials:MOST_TOKENS", "API tokens of a principal at a time"),
        Named("signer.config:LONGEST_TOKEN_DAYS", "`longest_token_days` may be set to", "days"),
        Named("signer.config:MOST_ACCESS_KEYS", "`access_keys_per_principal` may be set to"),
        Named("signer.administration.access_keys:MOST_TEMPORARY", "temporary access keys of a principal at a time"),
        Named("signer.administration.public_credentials:MOST_USABLE", "public credentials of a principal at a time"),
        Named("signer.administration.identities:ENROLMENT_LIFE", "an enrolment's code is good for"),
        Named("signer.authn.signed_request:MAXIMUM_AGE", "a signed request (RFC 9421) is good for"),
        Named("signer.authn.signed_request:LEEWAY", "and may be from the future by"),
        Named("signer.authn.signed_request:NONCE_LIFE", "its nonce is remembered for"),
        Named("signer.authn.signed_request:SHORTEST_NONCE", "at least in its nonce", "characters"),
        Named("signer.authn.signed_request:LONGEST_NONCE", "at most in its nonce", "characters"),
        Named("signer.authn.signed_request:LONGEST_KEYID", "in its key id", "characters"),
        Named("signer.authn.sigv4:SKEW", "a request with Signature Version 4 may be old, or from the future, by"),
        Named("signer.authn.sigv4_request:LONGEST_LIFE", "a presigned request is good for"),
        Named("signer.authn.assertions:LONGEST_TOKEN", "an OIDC token", "characters"),
        Named("signer.authn.exchange:LARGEST_FACTS", "what is recorded of an OIDC token", "octets"),
        Named("signer.authn.fetching:LARGEST_DOCUMENT", "an issuer's discovery document or key set", "octets"),
        Named("signer.authn.fetching:TIME_LIMIT", "to fetch both", "s"),
        Named("signer.administration.trusted_issuers:LARGEST_KEY_SET", "a key set given to the service", "octets"),
        Named("signer.authn.token_keys:MAXIMUM_KEYS", "keys of an issuer"),
        Named("signer.authn.token_keys:LEAST_RSA_BITS", "at least in an issuer's RSA key", "bits"),
        Named("signer.authn.token_keys:LARGEST_RSA_BITS", "at most in an issuer's RSA key", "bits"),
        Named("signer.authn.key_sets:HARD_AGE", "an issuer's keys are used without being fetched again for"),
        Named("signer.break_glass:MOST_HOURS", "break glass is enabled for", "hours"),
    ),
    "Keys": (
        Named("keystore.aliases:MOST_ALIASES", "aliases of a key"),
        Named("keystore.tags:MOST_TAGS", "tags of a key"),
        Named("keystore.grants:MAXIMUM_GRANTS", "active grants of a key"),
        Named("keystore.rotation:SHORTEST_PERIOD", "at least between two automatic rotations", "days"),
        Named("keystore.rotation:LONGEST_PERIOD", "at most between two automatic rotations", "days"),
        Named("keystore.rotation:MOST_ON_DEMAND", "rotations on demand of a key of AWS's kind"),
        Named("keystore.lifecycle:SHORTEST_WAIT", "at least until a deletion", "days"),
        Named("keystore.lifecycle:LONGEST_WAIT", "at most until a deletion", "days"),
        Named("keystore.wrapping_keys:VALIDITY", "parameters for an import are good for"),
        Named("signer.administration.importing:LONGEST_VALIDITY", "imported material is good for, if it ends at all"),
        Named("signer.regions.settings:MOST_REGIONS", "other regions"),
        Named("signer.regions.client:LARGEST_ANSWER", "another region's answer", "octets"),
        Named("keystore.backup_files:LARGEST_MANIFEST", "a backup's list of its files", "octets"),
        Named("keystore.shares:MOST_CUSTODIANS", "custodians"),
        Named("keystore.shared_domains:LARGEST_FILE", "the file of a domain on its way to another region", "octets"),
    ),
    "Policies": (
        Named("signer.access.policy_json:MOST_BYTES", "a key's policy", "octets"),
        Named("signer.administration.identity_policies:LONGEST", "a principal's policy", "characters"),
        Named("keystore.policies:MAXIMUM_POLICIES", "policies of a principal"),
    ),
    "What is made": (
        Named("signer.cryptographic_requests:MAXIMUM_PLAINTEXT", "what is encrypted in one call", "octets"),
        Named("signer.cryptographic_requests:MAXIMUM_CIPHERTEXT", "what is decrypted in one call", "octets"),
        Named("signer.cryptographic_requests:MAXIMUM_CONTEXT", "an encryption context", "octets"),
        Named("signer.cryptographic_requests:MAXIMUM_DATA_KEY", "a data key", "octets"),
        Named("signer.formats.claims:MAXIMUM_CLAIMS_BYTES", "a JWT's claims", "octets"),
        Named("signer.formats.claims:MAXIMUM_DEPTH", "objects and arrays inside each other, among claims"),
        Named("signer.formats.claims:MAXIMUM_SUBJECT", "a JWT's subject", "characters"),
        Named("signer.formats.saml:MAXIMUM_ATTRIBUTE_CHARACTERS", "all attributes of an assertion", "characters"),
        Named("signer.request:LONGEST_ASSERTION", "an assertion is good for", "s"),
        Named("signer.formats.dsse:MAXIMUM_PREDICATE_BYTES", "a statement's predicate", "octets"),
        Named("signer.formats.dsse:MAXIMUM_PREDICATE_DEPTH", "objects and arrays inside each other, in a predicate"),
        Named("signer.operations.artifacts:MAXIMUM_STATEMENT_BYTES", "all predicates of one call", "octets"),
        Named("signer.certificates.installation:LONGEST_CHAIN", "certificates of a chain that is installed"),
        Named("signer.config:LONGEST_LEAF_DAYS", "`leaf_days` may be set to", "days"),
        Named("signer.published:KEY_SET_MAX_AGE", "a key set may be cached for", "s"),
        Named("signer.upkeep:IDEMPOTENCY_LIFE", "an answer is given again, by `Idempotency-Key`, for"),
    ),
    "The log": (
        Named("signer.config:MOST_WITNESSES", "witnesses"),
        Named("signer.audit.witnessing:TIME_LIMIT", "a witness has to answer", "s"),
        Named("signer.audit.witnessing:LARGEST_ANSWER", "a witness's answer", "octets"),
        Named("signer.audit.cosignatures:LONGEST_NAME", "a witness's name", "characters"),
        Named("signer.audit.cosignatures:CLOCK_SECONDS", "a witness's clock may differ by", "s"),
        Named("signer.config:MOST_KEYS_WITH_FIGURES", "keys that metrics may be told apart by"),
        Named("signer.audit.trail:COUNT_SECONDS", "between two records of what is only counted", "s"),
    ),
}


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _ABOVE
    yield from ("## Settings", "", "Of `sealmark.toml` ([operations](operations/README.md#configuration)).", "")
    yield from ("| setting | default | from | to |", "|---|---|---|---|")
    defaults = {field.name: field.default for field in fields(ServerConfiguration)}
    for name, (least, most) in SERVER_RANGES.items():
        yield f"| `server.{name}` | {_number(defaults[name])} | {_number(least)} | {_number(most)} |"
    for name, default in (
        ("cache_size", DEFAULT_CACHE_SIZE),
        ("sessions", DEFAULT_SESSIONS),
        ("token_keys", DEFAULT_TOKEN_KEYS),
    ):
        yield f"| `hsm.{name}` | {_number(default)} | 1 | |"
    for title, limits in NAMED.items():
        yield from ("", f"## {title}", "", "| limit | |", "|---|---|")
        for limit in limits:
            yield f"| {limit.what} | {_shown(limit.value)}{f' {limit.unit}' if limit.unit else ''} |"
    yield from ("", "## Members of requests", "", "Lengths are characters of a text, octets of what is base64.", "")
    yield from ("| call | member | |", "|---|---|---|")
    yield from _of_bodies()


def _of_bodies() -> Iterator[str]:
    shown: set[type] = set()
    for endpoint in ENDPOINTS:
        if endpoint.body is None or endpoint.body in shown or endpoint.wire:
            continue
        shown.add(endpoint.body)
        path = endpoint.path.replace("<", "{").replace(">", "}")
        for member, bounds in _bounds("", inspect.type_info(endpoint.body), ()):
            yield f"| `{endpoint.method} {path}` | `{member}` | {bounds} |"


def _bounds(name: str, type_: inspect.Type, within: tuple[type, ...]) -> Iterator[tuple[str, str]]:
    """Every member that is bounded, by its place in the body, and how."""
    while isinstance(type_, inspect.Metadata):
        type_ = type_.type
    bounds = _bound(type_)
    if bounds and name:
        yield name, bounds
    if isinstance(type_, inspect.StructType) and type_.cls not in within:
        for field in type_.fields:
            place = f"{name}.{field.encode_name}" if name else field.encode_name
            yield from _bounds(place, field.type, (*within, type_.cls))
    elif isinstance(type_, inspect.UnionType):
        for one in type_.types:
            yield from _bounds(name, one, within)
    elif isinstance(type_, inspect.ListType):
        yield from _bounds(f"{name}[]", type_.item_type, within)
    elif isinstance(type_, inspect.DictType):
        yield from _bounds(f"{name}.NAME", type_.key_type, within)
        yield from _bounds(f"{name}.*", type_.value_type, within)


def _bound(type_: inspect.Type) -> str:
    words = {"StrType": "long", "BytesType": "long", "ListType": "of them", "DictType": "of them"}
    least, most = getattr(type_, "min_length", None), getattr(type_, "max_length", None)
    if least is not None or most is not None:
        return f"{_range(least, most)} {words[type(type_).__name__]}"
    least, most = getattr(type_, "ge", None), getattr(type_, "le", None)
    return "" if least is None and most is None else _range(least, most)


def _range(least: int | None, most: int | None) -> str:
    if most is None:
        return f"at least {_number(least)}"
    return f"at most {_number(most)}" if not least else f"{_number(least)} to {_number(most)}"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)


def _shown(value: object) -> str:
    if not isinstance(value, timedelta):
        return _number(value)
    for length, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if value.total_seconds() % length == 0 and value.total_seconds() >= 2 * length:
            return f"{int(value.total_seconds()) // length} {unit}"
    return f"{value.total_seconds():g} s"


if __name__ == "__main__":
    print(page(), end="")
