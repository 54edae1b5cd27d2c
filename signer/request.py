"""The bodies that callers send, as typed structs: unknown members are refused, every length is bounded.

One struct per call of the API; they are also the source of `/openapi.json`. Meaning is checked later, by who knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

MAXIMUM_BATCH = 1000
LONGEST_ASSERTION = 3600  # seconds

Alias = Annotated[
    str, Meta(pattern="^[A-Za-z0-9_-]{1,250}$(?!\\n)", description="a name of the key, not of a UUID's form")
]
AliasName = Annotated[
    str, Meta(pattern="^[A-Za-z0-9/_-]{1,250}$(?!\\n)", description="a name of the key; in paths only one without `/`")
]
KeyReference = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,250}$(?!\\n)", description="a key's alias or id")]
PrincipalName = Annotated[
    str, Meta(pattern="^(user|role)/[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$(?!\\n)", description="user/NAME or role/NAME")
]
UserName = Annotated[
    str, Meta(pattern="^user/[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$(?!\\n)", description="user/NAME: a person, not a role")
]
Slug = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$(?!\\n)")]
RegionName = Annotated[
    str, Meta(pattern="^[a-z]{2}(-[a-z0-9]+){1,4}$(?!\\n)", max_length=64, description="such as eu-west-1")
]
Url = Annotated[str, Meta(min_length=1, max_length=1024)]
Text = Annotated[str, Meta(max_length=1024)]
LongText = Annotated[str, Meta(max_length=8192)]
TagName = Annotated[str, Meta(min_length=1, max_length=128)]
TagValue = Annotated[str, Meta(max_length=256)]
ShortText = Annotated[str, Meta(min_length=1, max_length=256)]
Context = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=128)], Annotated[str, Meta(max_length=1024)]], Meta(max_length=32)
]
GrantContext = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=128)], Annotated[str, Meta(max_length=1024)]],
    Meta(min_length=1, max_length=8),
]
Duty = Literal["administrator", "key-administrator", "key-user", "auditor"]
RevocationReason = Literal[
    "unspecified",
    "key_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "privilege_withdrawn",
]
TokenAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ArtifactFormat = Literal["cms", "raw", "bundle", "dsse"]
MadeFormat = Literal["cms", "raw", "bundle", "dsse", "attestation"]
TypeUri = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z][A-Za-z0-9+.-]*:[\\x21-\\x7e]+$(?!\\n)",
        max_length=256,
        description="an absolute URI (RFC 3986)",
    ),
]

# What a text of each pattern is, for who sent another one.
FORMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "^[A-Za-z0-9_-]{1,250}$(?!\\n)": "1 to 250 letters, digits, _ or -",
        "^[A-Za-z0-9/_-]{1,250}$(?!\\n)": "1 to 250 letters, digits, /, _ or -",
        "^(user|role)/[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$(?!\\n)": "user/NAME or role/NAME, such as role/ci",
        "^user/[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$(?!\\n)": "user/NAME: a person, not a role, which many may hold",
        "^[a-z0-9][a-z0-9-]{0,62}$(?!\\n)": "1 to 63 lower-case letters, digits or -, not beginning with -",
        "^[A-Za-z][A-Za-z0-9+.-]*:[\\x21-\\x7e]+$(?!\\n)": "an absolute URI, such as https://slsa.dev/provenance/v1",
        "^[a-z]{2}(-[a-z0-9]+){1,4}$(?!\\n)": "a region, such as eu-west-1",
        "^mrk-[0-9a-f]{32}$(?!\\n)": "the id of a multi-region key: mrk- and 32 lower-case hex digits",
        "^[0-9]{12}$(?!\\n)": "an account: 12 digits",
        "^[0-9a-f]{64}$(?!\\n)": "64 lower-case hex digits",
        "^[0-9a-f]{96}$(?!\\n)": "96 lower-case hex digits",
        "^[0-9a-f]{128}$(?!\\n)": "128 lower-case hex digits",
    }
)


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of every request body."""


class NewPrincipal(Body):
    """`POST /v1/principals`"""

    name: PrincipalName
    duty: Duty


class NewDuty(Body):
    """`PUT /v1/principals/{kind}/{name}/duty`"""

    duty: Duty


class NewEnrolment(Body):
    """`POST /v1/principals/{kind}/{name}/enrolments`: `revoke_tokens` ends all that the principal has, at once."""

    revoke_tokens: bool = False


class NewApiToken(Body):
    """`POST /v1/principals/{kind}/{name}/tokens`: lives for `days` or for `expires_in`, else as long as one may."""

    label: ShortText
    days: Annotated[int, Meta(ge=1, le=3650)] | None = None
    expires_in: Annotated[int, Meta(ge=60, le=3650 * 86400, description="seconds")] | None = None


class NewAccessKey(Body):
    """`POST /v1/principals/{kind}/{name}/access-keys`: an access key that lives for `days`, else as long as one may; or
    `temporary` credentials, which live for `duration_seconds` (an hour by default)."""

    label: ShortText | None = None
    days: Annotated[int, Meta(ge=1, le=3650)] | None = None
    temporary: bool = False
    duration_seconds: Annotated[int, Meta(ge=900, le=43200)] | None = None


class Enrolment(Body):
    """`POST /v1/enrolments`"""

    code: Annotated[str, Meta(min_length=1, max_length=256)]


class ShortPolicy(Body):
    """The short form of a policy: it becomes two statements."""

    administrators: Annotated[list[PrincipalName], Meta(max_length=256)]
    users: Annotated[list[PrincipalName], Meta(max_length=256)]


class PolicyBody(Body):
    """`PUT /v1/keys/{key}/policy`: a document in the form of AWS KMS key policies (`Version`, `Statement`, and `Id` if
    need be), or its short form (`administrators`, `users`). `reason` is kept with the version; with `revision` the
    policy is replaced only if it is still at that one. Whoever sets `bypass_policy_lockout_safety_check` may make a
    policy that nobody can change again."""

    version: Annotated[ShortText | None, Meta(description="2012-10-17")] = msgspec.field(name="Version", default=None)
    id: ShortText | None = msgspec.field(name="Id", default=None)
    statement: dict[str, Any] | list[dict[str, Any]] | None = msgspec.field(name="Statement", default=None)
    administrators: Annotated[list[PrincipalName], Meta(max_length=256)] | None = None
    users: Annotated[list[PrincipalName], Meta(max_length=256)] | None = None
    reason: Text = ""
    revision: Annotated[int, Meta(ge=1)] | None = None
    bypass_policy_lockout_safety_check: bool = False


class Restoration(Body):
    """`POST /v1/keys/{key}/policy/versions/{revision}/restore`: members as of `PUT /v1/keys/{key}/policy`."""

    reason: Text = ""
    revision: Annotated[int, Meta(ge=1)] | None = None
    bypass_policy_lockout_safety_check: bool = False


class IdentityPolicyBody(Body):
    """`PUT /v1/principals/{kind}/{name}/policies/{policy}`: a document in the form of AWS's identity policies."""

    policy: dict[str, Any]
    reason: Text = ""


class Reason(Body):
    """`DELETE /v1/principals/{kind}/{name}/policies/{policy}`: why, if need be."""

    reason: Text = ""


class GrantConstraints(Body):
    """What the encryption or signing context of a request must be: exactly this, or at least this. One of the two."""

    context_equals: GrantContext | None = None
    context_subset: GrantContext | None = None


class NewGrant(Body):
    """`POST /v1/keys/{key}/grants`. `operations` are action names without prefix, such as `SignArtifact`; `retiring`
    may retire the grant; one of the same `name` that says the same is the same grant."""

    grantee: PrincipalName
    operations: Annotated[list[ShortText], Meta(min_length=1, max_length=32)]
    constraints: GrantConstraints | None = None
    name: ShortText | None = None
    retiring: PrincipalName | None = None


class NewKeyBody(Body):
    """`POST /v1/keys`. `policy` is a whole document, or `{administrators, users}`; `users` and `administrators` alone
    are short for one of which the maker is an administrator too. `issuer`, `audiences`, `max_ttl`, `types` belong to
    jwt keys; `issuer`, `audiences`, `recipients` to saml keys. `protection` insists: without it keys of a spec that the
    operator lists in `software_specs` are `software`, all others `hsm`."""

    spec: ShortText
    purpose: Literal["artifact", "jwt", "saml", "general", "encrypt", "mac", "agree", "encapsulate"]
    alias: Alias | None = None
    users: Annotated[list[PrincipalName], Meta(max_length=256)] | None = None
    administrators: Annotated[list[PrincipalName], Meta(max_length=256)] | None = None
    policy: dict[str, Any] | None = None
    domain: Slug | None = None
    description: LongText = ""
    tags: Annotated[dict[TagName, TagValue], Meta(max_length=50)] = {}
    protection: Literal["hsm", "software"] | None = None
    published: bool | None = None
    algorithm: ShortText | None = None
    formats: Annotated[list[ArtifactFormat], Meta(min_length=1, max_length=4)] | None = None
    issuer: Slug | None = None
    audiences: Annotated[list[ShortText], Meta(min_length=1, max_length=64)] | None = None
    max_ttl: Annotated[int, Meta(ge=1, le=30 * 86400, description="seconds")] | None = None
    types: Annotated[list[ShortText], Meta(min_length=1, max_length=16)] | None = None
    recipients: Annotated[list[Url], Meta(min_length=1, max_length=64)] | None = None
    bypass_policy_lockout_safety_check: bool = False
    origin: Annotated[Literal["AWS_KMS", "EXTERNAL"], Meta(description="EXTERNAL: material is imported")] = "AWS_KMS"
    multi_region: bool = False


class NewReplica(Body):
    """`POST /v1/keys/{key}/replicas`. `policy`, `users` and `administrators` are as of `POST /v1/keys`, and name people
    of the other region, where the caller is an administrator unless a whole document says otherwise."""

    region: RegionName
    policy: dict[str, Any] | None = None
    users: Annotated[list[PrincipalName], Meta(max_length=256)] | None = None
    administrators: Annotated[list[PrincipalName], Meta(max_length=256)] | None = None
    description: LongText = ""
    tags: Annotated[dict[TagName, TagValue], Meta(max_length=50)] = {}
    bypass_policy_lockout_safety_check: bool = False


class NewPrimaryRegion(Body):
    """`POST /v1/keys/{key}/primary-region`"""

    region: RegionName


class Empty(Body):
    """A call that takes no members: send nothing, or `{}`."""


class Rotation(Body):
    """`POST /v1/keys/{key}/rotate`. `revoke` says why all earlier versions end at once; it goes with `now` alone."""

    now: bool = False
    revoke: RevocationReason | None = None


class RotationPeriod(Body):
    """`PUT /v1/keys/{key}/rotation`: the key is rotated by itself every so many days."""

    days: Annotated[int, Meta(ge=90, le=2560)] = 365


class AliasBody(Body):
    """`POST /v1/keys/{key}/aliases`: a further name of the key; `/move`: one that another key has; `/remove`: one of
    its own is taken away."""

    alias: AliasName


class TagsBody(Body):
    """`POST /v1/keys/{key}/tags`: tags that are added, or get another value."""

    tags: Annotated[dict[TagName, TagValue], Meta(min_length=1, max_length=50)]


class TagNames(Body):
    """`POST /v1/keys/{key}/tags/remove`"""

    names: Annotated[list[TagName], Meta(min_length=1, max_length=50)]


class KeyDescription(Body):
    """`PUT /v1/keys/{key}/description`"""

    description: LongText


class ImportParametersBody(Body):
    """A wrapping key for material of the caller's own. What may be combined is the keystore's to say."""

    wrapping_algorithm: ShortText
    wrapping_key_spec: ShortText


class KeyMaterialBody(Body):
    """Material of the caller's own, wrapped. `valid_to` goes with KEY_MATERIAL_EXPIRES and only with it."""

    import_token: Annotated[bytes, Meta(min_length=1, max_length=6144)]
    encrypted_key_material: Annotated[bytes, Meta(min_length=1, max_length=6144)]
    valid_to: datetime | None = None
    expiration_model: Literal["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"] = "KEY_MATERIAL_EXPIRES"
    import_type: Literal["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"] | None = None
    key_material_description: Annotated[str, Meta(max_length=256)] | None = None
    key_material_id: Annotated[str, Meta(pattern="^[0-9a-f]{64}$(?!\\n)")] | None = None

    def recorded(self) -> dict[str, object]:
        """What the record says of it: nothing of the material."""
        return {
            "expiration_model": self.expiration_model,
            "import_type": self.import_type,
            "valid_to": None if self.valid_to is None else self.valid_to.isoformat(),
        }


class MaterialDeletion(Body):
    """Which of the key's imported materials is to go; without an id: the current one."""

    key_material_id: Annotated[str, Meta(pattern="^[0-9a-f]{64}$(?!\\n)")] | None = None


class CertificateRequest(Body):
    """`POST /v1/keys/{key}/csr`: what the request asks an outside CA to certify."""

    subject: (
        Annotated[str, Meta(min_length=1, max_length=512, description="RFC 4514, such as CN=release,O=Example")] | None
    ) = None
    dns_names: Annotated[list[ShortText], Meta(max_length=32)] = []
    uris: Annotated[list[Url], Meta(max_length=32)] = []


class CertificateChain(Body):
    """`PUT /v1/keys/{key}/certificate`: an outside CA's chain, PEM, leaf first, up to its root or the `anchor`."""

    chain: Annotated[str, Meta(min_length=1, max_length=65536)]
    anchor: Annotated[str, Meta(min_length=1, max_length=16384)] | None = None
    version: Annotated[int, Meta(ge=1)] | None = None


class Renewal(Body):
    """`POST /v1/keys/{key}/certificate/renew`: a new certificate of the built-in CA for the same version."""

    days: Annotated[int, Meta(ge=1, le=1825)] | None = None
    version: Annotated[int, Meta(ge=1)] | None = None
    replace_installed: bool = False


class Revocation(Body):
    """`POST /v1/keys/{key}/certificate/revoke`: `key_compromise` ends the version itself."""

    reason: RevocationReason
    version: Annotated[int, Meta(ge=1)] | None = None


class Deletion(Body):
    """`POST /v1/keys/{key}/schedule-deletion`"""

    days: Annotated[int, Meta(ge=7, le=30)] = 30


class SignatureItem(Body):
    """One raw signature over one of: a message (base64), a digest (base64), or `mu`, the message representative of
    ML-DSA (base64 of 64 octets; FIPS 204 section 6.2)."""

    algorithm: ShortText | None = None
    message: bytes | None = None
    digest: bytes | None = None
    mu: bytes | None = None


class Signatures(SignatureItem):
    """`POST /v1/keys/{key}/signatures`: one item, or `items`; the context is the whole call's."""

    items: Annotated[list[SignatureItem], Meta(min_length=1, max_length=MAXIMUM_BATCH)] | None = None
    context: Context | None = None


class Digests(Body):
    """What the client hashed, lower-case hex."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$(?!\\n)")] | None = None
    sha384: Annotated[str, Meta(pattern="^[0-9a-f]{96}$(?!\\n)")] | None = None
    sha512: Annotated[str, Meta(pattern="^[0-9a-f]{128}$(?!\\n)")] | None = None


class Artifact(Body):
    """One file, never uploaded: its name, size in bytes and digests."""

    name: ShortText
    size: Annotated[int, Meta(ge=0)]
    digests: Digests


class Artifacts(Body):
    """`POST /v1/keys/{key}/artifacts`. `attestation` is the `dsse` envelope in a Sigstore bundle. `statement`,
    `predicate_type` and `predicate` belong to dsse and attestation, `material` to bundle and attestation."""

    artifacts: Annotated[list[Artifact], Meta(min_length=1, max_length=MAXIMUM_BATCH)]
    formats: Annotated[list[MadeFormat], Meta(min_length=1, max_length=5)]
    context: Context | None = None
    statement: Literal["each", "one"] | None = None
    predicate_type: TypeUri | None = None
    predicate: dict[str, Any] | None = None
    material: Literal["public-key", "certificate"] | None = None


class TokenItem(Body):
    """One JWT: its claims, its lifetime in seconds, its type."""

    claims: dict[Annotated[str, Meta(min_length=1, max_length=128)], Any] | None = None
    ttl: Annotated[int, Meta(ge=1)] | None = None
    typ: ShortText | None = None


class Tokens(TokenItem):
    """`POST /v1/keys/{key}/jwts`: one item, or `items`."""

    items: Annotated[list[TokenItem], Meta(min_length=1, max_length=MAXIMUM_BATCH)] | None = None
    context: Context | None = None


class Subject(Body):
    """Who a SAML assertion speaks of (SAML 2.0 core section 2.2.3)."""

    name_id: ShortText
    format: Url | None = None


class AssertionItem(Body):
    """`POST /v1/keys/{key}/assertions`: a SAML 2.0 response holding one assertion."""

    subject: ShortText | Subject
    audience: Url
    recipient: Url
    in_response_to: ShortText | None = None
    attributes: Annotated[dict[ShortText, Text | list[Text]], Meta(max_length=64)] | None = None
    sign: Literal["assertion", "response", "both"] = "assertion"
    ttl: Annotated[int, Meta(ge=1, le=LONGEST_ASSERTION, description="seconds")] = 300
    session_index: ShortText | None = None
    authentication_context: Url | None = None
    context: Context | None = None


class NewIssuer(Body):
    """`POST /v1/issuers`"""

    name: Slug
    url: Url
    entity_id: Url | None = None
    jwks_uri: Url | None = None
    authorization_endpoint: Url | None = None
    token_endpoint: Url | None = None
    sign_on_url: Url | None = None


class NewPublicCredential(Body):
    """`POST /v1/principals/{kind}/{name}/public-credentials`. `certificate` (PEM) goes with match public-key and
    certificate, `name` with uri and dns, `public_key` (PEM) with request-key. Who adds its own sends `proof`."""

    match: Literal["public-key", "certificate", "uri", "dns", "request-key"]
    certificate: Annotated[str, Meta(min_length=1, max_length=16384)] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    public_key: Annotated[str, Meta(min_length=1, max_length=8192)] | None = None
    label: Text = ""
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    proof: Annotated[bytes, Meta(max_length=1024, description="the private key's signature, base64")] | None = None


Claim = Annotated[
    str, Meta(min_length=1, max_length=256, description="a claim's name, or a JSON Pointer that begins with /")
]
Conditions = Annotated[
    dict[Claim, Annotated[list[ShortText | int | bool], Meta(min_length=1, max_length=64)]],
    Meta(min_length=1, max_length=16, description="all must hold; of each claim's values one must fit"),
]


class ClaimMapping(Body):
    """Which tokens become which role."""

    role: PrincipalName
    conditions: Conditions


class TrustedIssuerBody(Body):
    """`PUT /v1/trusted-issuers/{trusted}`. Its keys: `jwks` (pinned), else `jwks_url`, else what its discovery document
    names. `revision` is the one that was looked at: another one by now is refused."""

    url: Url
    audiences: Annotated[list[ShortText], Meta(min_length=1, max_length=16)]
    mappings: Annotated[list[ClaimMapping], Meta(min_length=1, max_length=64)]
    jwks_url: Url | None = None
    jwks: dict[str, Any] | None = None
    algorithms: Annotated[list[TokenAlgorithm], Meta(min_length=1, max_length=10)] = msgspec.field(
        default_factory=lambda: ["RS256", "ES256"]
    )
    max_token_age: Annotated[int, Meta(ge=60, le=86400, description="seconds since the token's iat")] = 600
    session_lifetime: Annotated[int, Meta(ge=60, le=3600, description="seconds")] = 900
    revision: Annotated[int, Meta(ge=1)] | None = None


class NewTrustedIssuer(TrustedIssuerBody, kw_only=True):
    """`POST /v1/trusted-issuers`"""

    name: Slug


class TokenExchange(Body):
    """`POST /v1/token-exchange`: a workload's own token (RFC 8693 section 2.1). `role` where it may have several."""

    subject_token: Annotated[str, Meta(min_length=1, max_length=16384)]
    subject_token_type: Literal["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"] = (
        "urn:ietf:params:oauth:token-type:jwt"
    )
    role: PrincipalName | None = None


ConditionDetails = Annotated[
    dict[ShortText, ShortText | Annotated[list[ShortText], Meta(min_length=1, max_length=64)]],
    Meta(
        max_length=32,
        description="values of condition keys that the call would have, such as aws:SourceIp; what is not given is "
        "as a plain call has it",
    ),
]
Moment = Annotated[datetime, Meta(tz=True, description="when the call would be made; now, if not given")]


class Question(Body):
    """What both questions about access have. `context` is the signing context."""

    action: Annotated[ShortText, Meta(description="such as kms:SignArtifact, or SignArtifact")]
    key: KeyReference | None = None
    context: Context | None = None
    details: ConditionDetails = msgspec.field(default_factory=dict)
    at: Moment | None = None

    @property
    def about(self) -> str | None:
        """Whom it asks about; None: everybody."""
        return None


class AccessQuestion(Question, kw_only=True):
    """`POST /v1/access/explain`: would this principal be allowed this action, on this key, in such a call?

    What is about no key is asked without one."""

    principal: PrincipalName

    @property
    def about(self) -> str | None:
        """One principal."""
        return self.principal


class WhoCanQuestion(Question, kw_only=True):
    """`POST /v1/access/who-can`: who would be allowed this action on this key, in such a call, and who in others?"""

    key: KeyReference


class ApprovalRequirementBody(Body):
    """Who must approve, how many of them, and within what time of the request; `signed`: by signed requests."""

    approvers: Annotated[list[UserName], Meta(min_length=1, max_length=16)]
    needed: Annotated[int, Meta(ge=1, le=16)]
    window_seconds: Annotated[int, Meta(ge=60, le=604800, description="seconds, 1 minute to 7 days")]
    signed: bool = False


class ApprovalRuleBody(Body):
    """`PUT /v1/keys/{key}/approval-rule`: what is covered; a class that is left out is not."""

    sign: ApprovalRequirementBody | None = None
    policy: ApprovalRequirementBody | None = None
    rotation: ApprovalRequirementBody | None = None
    deletion: ApprovalRequirementBody | None = None


class ApprovalRequestBody(Body):
    """`POST /v1/keys/{key}/approval-requests`: `request` is the very body of the call that is to be released."""

    operation: Literal[
        "signatures",
        "artifacts",
        "jwts",
        "assertions",
        "policy",
        "grants",
        "replicas",
        "primary-region",
        "rotate",
        "csr",
        "certificate",
        "certificate/renew",
        "certificate/revoke",
        "enable",
        "schedule-deletion",
        "aliases",
        "aliases/move",
        "aliases/remove",
        "tags",
        "tags/remove",
        "rotation",
        "rotation/remove",
        "rotate-on-demand",
        "approval-rule",
        "approval-rule/remove",
    ]
    request: dict[str, Any] = {}
    reason: Text = ""


class ApprovalBody(Body):
    """`POST /v1/approval-requests/{request}/approve`: the hash says what was seen."""

    request_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$(?!\\n)")]
    reason: Text = ""


class RejectionBody(Body):
    """`POST /v1/approval-requests/{request}/reject`"""

    reason: Text = ""
