"""Contracts of the calls about policies, grants and explanations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import access as access_answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import KEY_ID, MOMENT, VERSION

_POLICY_DOCUMENT: Final[dict[str, object]] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Administration",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::000000000000:user/key-admin"},
            "Action": [
                *("kms:Describe*", "kms:Explain*", "kms:Get*", "kms:List*", "kms:Put*"),
                *("kms:Enable*", "kms:Disable*", "kms:Rotate*", "kms:*Deletion", "kms:*Certificate", "kms:*Grant"),
            ],
            "Resource": "*",
        },
        {
            "Sid": "ReleasesOfOneRepository",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::000000000000:role/ci"},
            "Action": ["kms:DescribeKey", "kms:SignArtifact"],
            "Resource": "*",
            "Condition": {"StringEquals": {"sealmark:SigningContext:repository": "shop/app"}},
        },
    ],
}
_SHOWN_POLICY: Final = {
    "policy": _POLICY_DOCUMENT,
    "administrators": ["user/key-admin"],
    "users": ["role/ci"],
    "short_form": False,
    "revision": 1,
}
_NEW_GRANT: Final[dict[str, object]] = {
    "grantee": "role/ci",
    "operations": ["DescribeKey", "RetireGrant", "SignArtifact"],
    "constraints": {"context_subset": {"repository": "shop/app"}},
    "name": "nightly",
    "retiring": "user/key-admin",
}
_GRANT: Final[dict[str, object]] = {
    "id": "9d1f6a52-6f0c-4f7e-8a55-0c7d9a2f6c22",
    "key_id": KEY_ID,
    **_NEW_GRANT,
    "state": "active",
    "created_at": MOMENT,
    "created_by": "user/key-admin",
    "ended_at": None,
    "ended_by": None,
}
_ENDED_GRANT: Final = {**_GRANT, "ended_at": MOMENT, "ended_by": "user/key-admin"}
_PINNED: Final = {
    "operator": "StringEquals",
    "key": "sealmark:SigningContext:repository",
    "values": ["shop/app"],
    "found": ["shop/app"],
    "met": True,
}
_ALLOWING: Final[dict[str, object]] = {
    "source": "key policy",
    "statement": "ReleasesOfOneRepository",
    "effect": "Allow",
    "conditions": [_PINNED],
}
_ASKED: Final = {
    "action": "kms:SignArtifact",
    "key": "release",
    "context": {"repository": "shop/app"},
    "details": {"sealmark:Format": ["cms"], "aws:SourceIp": "10.0.0.5"},
}
_DECIDED: Final[dict[str, object]] = {
    "principal": "role/ci",
    "duty": "key-user",
    "decided_by": {"source": "key policy", "statement": "ReleasesOfOneRepository"},
    "why": "role/ci may do kms:SignArtifact with the key release: the key policy's statement ReleasesOfOneRepository "
    "allows it.",
    "refusal": None,
}

ACCESS: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "GET /v1/keys/<key>/grants": Contract(access_answers.Grants, {"grants": [_GRANT], "next_cursor": None}),
        "GET /v1/keys/<key>/policy": Contract(access_answers.Policy, _SHOWN_POLICY),
        "PUT /v1/keys/<key>/policy": Contract(
            access_answers.Policy, {**_SHOWN_POLICY, "revision": 2}, _POLICY_DOCUMENT
        ),
        "POST /v1/keys/<key>/grants": Contract(access_answers.Grant, _GRANT, _NEW_GRANT),
        "POST /v1/keys/<key>/grants/<grant>/retire": Contract(
            access_answers.Grant, {**_ENDED_GRANT, "state": "retired"}
        ),
        "DELETE /v1/keys/<key>/grants/<grant>": Contract(access_answers.Grant, {**_ENDED_GRANT, "state": "revoked"}),
        "GET /v1/keys/<key>/policy/versions": Contract(
            access_answers.PolicyVersions, {"versions": [VERSION], "next_cursor": None}
        ),
        "GET /v1/keys/<key>/policy/versions/<revision>": Contract(
            access_answers.PolicyVersion, {**VERSION, "policy": _POLICY_DOCUMENT}
        ),
        "POST /v1/keys/<key>/policy/versions/<revision>/restore": Contract(
            access_answers.Policy,
            {**_SHOWN_POLICY, "revision": 3},
            {"reason": "the last change broke the nightly build"},
        ),
        "POST /v1/access/explain": Contract(
            access_answers.AccessExplained,
            {
                **_DECIDED,
                "action": "kms:SignArtifact",
                "key": {"id": KEY_ID, "alias": "release"},
                "allowed": True,
                "steps": [
                    {
                        "source": "duty",
                        "statement": "key-user",
                        "effect": "Allow",
                        "applies": True,
                        "says": "the duty key-user has kms:SignArtifact",
                        "conditions": [],
                    },
                    {
                        **_ALLOWING,
                        "applies": True,
                        "says": "the key policy's statement ReleasesOfOneRepository allows it",
                    },
                ],
                "circumstances": {"aws:SourceIp": ["10.0.0.5"], "sealmark:Format": ["cms"]},
            },
            {"principal": "role/ci", **_ASKED},
        ),
        "POST /v1/access/who-can": Contract(
            access_answers.WhoCan,
            {
                "principals": [{**_DECIDED, "access": "allowed", "conditions": [_ALLOWING]}],
                "next_cursor": None,
            },
            _ASKED,
        ),
        "GET /v1/access/actions": Contract(
            access_answers.PolicyActions,
            {"actions": [{"action": "kms:SignArtifact", "part": "use", "duties": ["key-user"]}]},
        ),
    }
)  # fmt: skip
