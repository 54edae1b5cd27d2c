"""`POST /v1/keys`: from a body to a key that may be made, every contradiction refused by name before anything is
made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from keystore.algorithms import (
    KEY_SPECS,
    KEY_USAGES,
    NOT_OFFERED,
    PURPOSES,
    SIGNING_ALGORITHMS,
    Origin,
    Protection,
    Purpose,
)
from keystore.api import AssertionSettings, KeyPolicy, MultiRegion, NewKey, TokenSettings
from keystore.keys import KEY_ID_FORM
from signer.access.circumstances import requested_tags
from signer.administration.labels import check_tags
from signer.errors import Unprocessable
from signer.operations.artifacts import DEFAULT_FORMATS, FORMATS_WITHOUT_DIGEST
from signer.published import DEFAULT_ISSUER, PUBLISHED_BY_DEFAULT

if TYPE_CHECKING:
    from signer.access.model import ConditionValues
    from signer.request import NewKeyBody

_Value = TypeVar("_Value")

# Which members belong to which purposes; the others are refused, so that nobody believes in a setting that does
# nothing.
_BELONGS_TO: Final = {
    "formats": (Purpose.ARTIFACT,),
    "issuer": (Purpose.JWT, Purpose.SAML),
    "audiences": (Purpose.JWT, Purpose.SAML),
    "max_ttl": (Purpose.JWT,),
    "types": (Purpose.JWT,),
    "recipients": (Purpose.SAML,),
}


def new_key(body: NewKeyBody, maker: str, policy: KeyPolicy) -> NewKey:
    """The key to be made. Raises `Unprocessable` naming the member. What the operator allows is the keystore's."""
    purpose = Purpose(body.purpose)
    _require_fitting_members(body, purpose)
    if body.alias is not None and KEY_ID_FORM.fullmatch(body.alias):
        msg = "an alias must not have the form of a key's id"
        raise Unprocessable(msg, field="alias")
    check_tags(body.tags)
    spec = _spec(body.spec, purpose)
    algorithm = _algorithm(body, purpose)
    return NewKey(
        spec=spec,
        purpose=purpose,
        created_by=maker,
        policy=policy,
        alias=body.alias,
        algorithm=algorithm,
        formats=_formats(body, algorithm) if purpose is Purpose.ARTIFACT else (),
        protection=None if body.protection is None else Protection(body.protection),
        settings=_settings(body, purpose),
        domain=body.domain or "default",
        description=body.description,
        published=purpose in PUBLISHED_BY_DEFAULT if body.published is None else body.published,
        tags=body.tags,
        origin=Origin(body.origin),
        multi_region=MultiRegion(primary_region="") if body.multi_region else None,  # the keystore knows its region
    )


def new_key_details(body: NewKeyBody) -> ConditionValues:
    """What policies may ask of a key that is to be made (AWS KMS Developer Guide, "AWS KMS condition keys")."""
    bypass = "true" if body.bypass_policy_lockout_safety_check else "false"
    return {
        "kms:keyspec": (body.spec,),
        "kms:keyusage": (KEY_USAGES[Purpose(body.purpose)],),
        "kms:keyorigin": (body.origin,),
        "sealmark:purpose": (body.purpose,),
        "kms:multiregion": ("true" if body.multi_region else "false",),
        "kms:bypasspolicylockoutsafetycheck": (bypass,),
        **requested_tags(body.tags),
    }


def _require_fitting_members(body: NewKeyBody, purpose: Purpose) -> None:
    for member, purposes in _BELONGS_TO.items():
        if getattr(body, member) is not None and purpose not in purposes:
            msg = f"`{member}` belongs to keys for {' and '.join(purposes)}; this one is for {purpose}"
            raise Unprocessable(msg, field=member)


def _spec(name: str, purpose: Purpose) -> str:
    """What AWS KMS has and nothing here makes is for the keystore to refuse, in words of its own."""
    if name in NOT_OFFERED:
        return name
    if name not in KEY_SPECS:
        msg = f"there is no spec {name!r}; known are {', '.join(KEY_SPECS)}"
        raise Unprocessable(msg, field="spec")
    if name not in PURPOSES[purpose]:
        msg = f"a key for {purpose} cannot be {name}; it can be {', '.join(PURPOSES[purpose])}"
        raise Unprocessable(msg, field="spec")
    return name


def _algorithm(body: NewKeyBody, purpose: Purpose) -> str | None:
    """None where the keystore chooses."""
    allowed = PURPOSES[purpose].get(body.spec, ())
    if body.algorithm is not None and body.algorithm not in allowed:
        msg = f"a {body.spec} key for {purpose} has {', '.join(allowed) or 'no algorithm'}"
        raise Unprocessable(msg, field="algorithm")
    return body.algorithm or next(iter(allowed), None)


def _formats(body: NewKeyBody, algorithm: str | None) -> tuple[str, ...]:
    """What the key is to make; an algorithm that signs no digests (PureEdDSA) makes DSSE alone."""
    if algorithm is None:
        return ()
    only = FORMATS_WITHOUT_DIGEST if SIGNING_ALGORITHMS[algorithm].hash_name is None else None
    if body.formats is None:
        return only or DEFAULT_FORMATS
    for name in body.formats:
        if only is not None and name not in only:
            msg = f"a {body.spec} key makes {', '.join(only)} alone: stock tools refuse its signatures in {name}"
            raise Unprocessable(msg, field="formats")
    return tuple(dict.fromkeys(body.formats))


def _required(value: _Value | None, member: str, purpose: Purpose) -> _Value:
    if value is None:
        msg = f"a key for {purpose} needs `{member}`: what its signatures may say belongs to the key"
        raise Unprocessable(msg, field=member)
    return value


def _settings(body: NewKeyBody, purpose: Purpose) -> TokenSettings | AssertionSettings | None:
    issuer = body.issuer or DEFAULT_ISSUER
    if purpose is Purpose.JWT:
        return TokenSettings(
            issuer=issuer,
            audiences=tuple(_required(body.audiences, "audiences", purpose)),
            max_ttl=_required(body.max_ttl, "max_ttl", purpose),
            types=tuple(body.types or ("JWT",)),
        )
    if purpose is Purpose.SAML:
        return AssertionSettings(
            issuer=issuer,
            audiences=tuple(_required(body.audiences, "audiences", purpose)),
            recipients=tuple(_required(body.recipients, "recipients", purpose)),
        )
    return None
