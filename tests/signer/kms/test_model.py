"""Every operation held against botocore's own model of AWS KMS: what it takes, and every bound that it must refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from msgspec import inspect

from signer.access.duties import DUTIES_OF
from signer.kms.operations import OPERATIONS
from tests.signer.kms.model import OF_ANOTHER_TYPE, Shape, input_of, operation_names
from tests.signer.service import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.signer.service import ServiceInProcess

TYPES: Final[Mapping[str, type[inspect.Type]]] = {
    "string": inspect.StrType,
    "blob": inspect.BytesType,
    "integer": inspect.IntType,
    "boolean": inspect.BoolType,
    "timestamp": inspect.FloatType,
    "list": inspect.ListType,
    "map": inspect.DictType,
    "structure": inspect.StructType,
}


def caller_of(name: str) -> str:
    """Somebody whose duty has all of the operation's actions."""
    actions = OPERATIONS[name].actions
    return next(who for who, duty in PEOPLE.items() if all(duty in DUTIES_OF[action] for action in actions))


def test_the_table_holds_every_operation_of_the_model_and_no_other() -> None:
    assert sorted(OPERATIONS) == operation_names()


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_requests_are_written_down_as_the_model_has_them(name: str) -> None:
    assert list(differences(inspect.type_info(OPERATIONS[name].request), input_of(name), name)) == []


def differences(ours: inspect.Type, theirs: Shape, at: str) -> Iterator[str]:
    """What our types say otherwise than the model."""
    ours, secret = undressed(ours)
    if secret != (theirs.kind == "string" and bool(theirs.facts.get("sensitive"))):
        yield f"{at}: a secret or not"
    if isinstance(ours, inspect.LiteralType):
        if set(ours.values) != set(theirs.facts.get("enum", ())):
            yield f"{at}: {ours.values} for {theirs.facts.get('enum')}"
        return
    if not isinstance(ours, TYPES[theirs.kind]):
        yield f"{at}: {ours} for {theirs.kind}"
        return
    if isinstance(ours, inspect.StructType):
        yield from structure_differences(ours, theirs, at)
    elif isinstance(ours, inspect.ListType):
        yield from differences(ours.item_type, theirs.item, f"{at}[]")
    elif isinstance(ours, inspect.DictType):
        yield from differences(ours.value_type, theirs.item, f"{at}[]")
    least = theirs.facts.get("min", 0 if theirs.kind in ("string", "blob", "list") else None)
    if bounds(ours) != (least, theirs.facts.get("max"), bare(theirs.facts.get("pattern"))):
        yield f"{at}: {bounds(ours)} for {theirs.facts}"


def undressed(ours: inspect.Type) -> tuple[inspect.Type, bool]:
    """The type without `None`, and whether it is marked as secret."""
    if isinstance(ours, inspect.UnionType):
        (ours,) = (each for each in ours.types if not isinstance(each, inspect.NoneType))
    return (ours.type, ours.extra == {"secret": True}) if isinstance(ours, inspect.Metadata) else (ours, False)


def bounds(ours: inspect.Type) -> tuple[int | None, int | None, str | None]:
    """The least, the most and the pattern, as the model has them."""
    if isinstance(ours, inspect.IntType):
        return ours.ge, ours.le, None
    if isinstance(ours, inspect.StrType | inspect.BytesType | inspect.ListType):
        pattern = ours.pattern if isinstance(ours, inspect.StrType) else None
        return ours.min_length or 0, ours.max_length, bare(pattern)
    return None, None, None


def structure_differences(ours: inspect.StructType, theirs: Shape, at: str) -> Iterator[str]:
    fields = {field.encode_name: field for field in ours.fields}
    if set(fields) != set(theirs.members):
        yield f"{at}: {sorted(set(fields) ^ set(theirs.members))}"
    for name in set(fields) & set(theirs.members):
        if fields[name].required != (name in theirs.required):
            yield f"{at}.{name}: required"
        yield from differences(fields[name].type, theirs.members[name], f"{at}.{name}")


def bare(pattern: str | None) -> str | None:
    """Without what says that the whole of a text is meant, which is what the model means anyhow."""
    return None if pattern is None else pattern.replace("(?!\\n)", "").removeprefix("^").removesuffix("$")


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_bound_of_the_model_is_refused_beyond(service: ServiceInProcess, name: str) -> None:
    """By the running service: too short, too long, of another pattern, of no value of an enum, absent."""
    shape, who = input_of(name), caller_of(name)
    minimal = {member: shape.members[member].sample() for member in shape.required}
    for member, inner in shape.members.items():
        path = member[0].lower() + member[1:]
        for value in inner.broken():
            told = service.kms(who, name, {**minimal, member: value}).get_json(force=True)
            assert told["__type"] == "ValidationException", (member, value, told)
            assert f"'{path}" in told["message"]
            assert "validation error" in told["message"]
        wrong = service.kms(who, name, {**minimal, member: OF_ANOTHER_TYPE[inner.kind]}).get_json(force=True)
        assert wrong["__type"] == "SerializationException", (member, wrong)
    for member in shape.required:
        lacking = {key: value for key, value in minimal.items() if key != member}
        for body in (lacking, {**lacking, member: None}):
            told = service.kms(who, name, body).get_json(force=True)
            assert told["__type"] == "ValidationException"
            at = member[0].lower() + member[1:]
            assert f"Value null at '{at}' failed to satisfy constraint: Member must not be null" in told["message"]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_the_model_allows_is_read(service: ServiceInProcess, name: str) -> None:
    """The least and the most that may be sent, of a key that is not there: what is refused then is not the form."""
    shape, who = input_of(name), caller_of(name)
    minimal = {member: shape.members[member].sample() for member in shape.required}
    for body in (minimal, shape.sample(), {**minimal, "SomethingNew": {"a": [1]}}):
        answer = service.kms(who, name, body)
        if answer.status_code == 200:
            continue
        told = answer.get_json(force=True)
        assert told["__type"] != "SerializationException", told
        assert "validation error" not in told["message"], told
