"""The service model of AWS KMS, out of the botocore that is installed beside the clients (`tools/setup.sh aws`).

Only looked at, never copied: what each operation takes and gives, and which errors it has.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[3]
# What fits a pattern, by the shape's name.
SAMPLES: Final = {
    "AccountIdType": "000000000000",
    "AliasNameType": "alias/sample",
    "ArnType": "arn:aws:iam::000000000000:role/ci",
    "BackingKeyIdType": "ab" * 32,
    "CloudHsmClusterIdType": "cluster-abcdefg2345",
    "GrantConstraintSourceArnType": "arn:aws:s3:us-east-1:000000000000:bucket",
    "GrantNameType": "sample",
    "KeyIdType": "3d3e6615-57e8-4024-8031-6c14a910baf4",
    "KeyMaterialDescriptionType": "sample",
    "MarkerType": "marker",
    "PolicyNameType": "default",
    "PolicyType": "{}",
    "PrincipalIdType": "arn:aws:iam::000000000000:role/ci",
    "RegionType": "us-west-2",
    "ServicePrincipalType": "service.amazonaws.com",
    "XksKeyIdType": "key-1",
    "XksProxyAuthenticationAccessKeyIdType": "ABCDEFGHIJKLMNOPQRST",
    "XksProxyAuthenticationRawSecretAccessKeyType": "a" * 43,
    "XksProxyUriEndpointType": "https://xks.example",
    "XksProxyUriPathType": "/kms/xks/v1",
    "XksProxyVpcEndpointServiceNameType": "com.amazonaws.vpce.us-east-1.vpce-svc-1",
}
OF_ANOTHER_TYPE: Final[dict[str, object]] = {
    "string": 1,
    "blob": 1,
    "integer": "1",
    "boolean": "true",
    "timestamp": "now",
    "list": {},
    "map": [],
    "structure": [],
}


@dataclass(frozen=True)
class Shape:
    """One shape of the model, by its name."""

    name: str

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = model()["shapes"][self.name]
        return found

    @property
    def kind(self) -> str:
        return str(self.facts["type"])

    @property
    def members(self) -> dict[str, Shape]:
        return {name: Shape(member["shape"]) for name, member in self.facts.get("members", {}).items()}

    @property
    def required(self) -> set[str]:
        return set(self.facts.get("required", ()))

    @property
    def item(self) -> Shape:
        """Of a list its members, of a map its values."""
        return Shape((self.facts.get("member") or self.facts["value"])["shape"])

    def sample(self) -> Any:
        """A value that fits."""
        facts = self.facts
        if self.kind == "structure":
            return {name: member.sample() for name, member in self.members.items()}
        if self.kind == "list":
            return [self.item.sample()]
        samples: dict[str, Any] = {
            "map": {"name": "value"},
            "integer": facts.get("min", 1),
            "boolean": False,
            "timestamp": 1_893_456_000,
            "blob": base64.b64encode(b"a" * facts.get("min", 1)).decode(),
            "string": facts["enum"][0]
            if "enum" in facts
            else SAMPLES.get(self.name, "a" * max(facts.get("min", 1), 1)),
        }
        return samples[self.kind]

    def broken(self) -> Iterator[Any]:
        """Values of the right type, each of which breaks one constraint."""
        facts, least, most = self.facts, self.facts.get("min", 0), self.facts.get("max")
        if self.kind == "structure":
            for name, member in self.members.items():
                for value in member.broken():
                    yield {**self.sample(), name: value}
            for name in sorted(self.required):
                yield {key: value for key, value in self.sample().items() if key != name}
        elif self.kind == "list":
            yield from ([value] for value in self.item.broken())
            if most is not None:
                yield [self.item.sample()] * (most + 1)
            if least:
                yield []
        elif self.kind == "integer":
            yield from ([least - 1] if "min" in facts else [])
            yield from ([most + 1] if most is not None else [])
        elif self.kind in ("string", "blob"):
            yield from self._broken_octets(least, most)

    def _broken_octets(self, least: int, most: int | None) -> Iterator[str]:
        def octets(length: int) -> str:
            return base64.b64encode(b"a" * length).decode() if self.kind == "blob" else "a" * length

        if "enum" in self.facts:
            yield "NONE_OF_THEM"
            return
        if least:
            yield octets(least - 1)
        if most is not None:
            yield octets(most + 1)
        if "pattern" in self.facts:
            yield "\0" * max(least, 1)


@cache
def model() -> dict[str, Any]:
    (place,) = (ROOT / ".venv-aws").glob("lib/python3*/site-packages/botocore/data/kms/*/service-2.json.gz")
    read: dict[str, Any] = json.loads(gzip.decompress(place.read_bytes()))
    return read


def operation_names() -> list[str]:
    return sorted(model()["operations"])


def input_of(operation: str) -> Shape:
    return Shape(model()["operations"][operation]["input"]["shape"])


def output_of(operation: str) -> Shape | None:
    found = model()["operations"][operation].get("output")
    return None if found is None else Shape(found["shape"])


def errors_of(operation: str) -> set[str]:
    return {error["shape"] for error in model()["operations"][operation].get("errors", ())}
