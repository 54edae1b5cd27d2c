"""Tags: added, taken away, listed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from signer.access import Action
from signer.access.circumstances import requested_tags
from signer.administration.labels import check_tag_names, check_tags
from signer.call import Answer, Call
from signer.errors import Unprocessable
from signer.held import untagging_details
from signer.kms.errors import Refusal
from signer.kms.operation import KmsOperation
from signer.kms.paging import after, page
from signer.kms.references import administered
from signer.kms.shapes import KeyId, Limit, Marker, Request, Shape
from signer.kms.states import require_labelled
from signer.kms.translation import Translated
from signer.pipeline import present
from signer.request import TagNames, TagsBody

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

_USUAL_PAGE: Final = 50
TagKey = Annotated[str, Meta(min_length=1, max_length=128)]


class Tag(Shape):
    """A tag of a key."""

    tag_key: TagKey
    tag_value: Annotated[str, Meta(max_length=256)]


class TagResourceRequest(Request):
    """`TagResource`"""

    key_id: KeyId
    tags: list[Tag]


class UntagResourceRequest(Request):
    """`UntagResource`"""

    key_id: KeyId
    tag_keys: list[TagKey]


class ListResourceTagsRequest(Request):
    """`ListResourceTags`"""

    key_id: KeyId
    limit: Limit | None = None
    marker: Marker | None = None


def tags_of(given: Iterable[Tag]) -> dict[str, str]:
    """Names and values. Raises `Refusal`: `TagException`."""
    tags: dict[str, str] = {}
    for tag in given:
        if tag.tag_key in tags:
            raise _refused(f"Duplicate tag keys: {tag.tag_key}", "unprocessable")
        tags[tag.tag_key] = tag.tag_value
    with _malformed_tags():
        check_tags(tags)
    return tags


@contextmanager
def _malformed_tags() -> Iterator[None]:
    try:
        yield
    except Unprocessable as refusal:
        raise _refused(str(refusal), refusal.code) from refusal


def _refused(message: str, code: str) -> Refusal:
    return Refusal("TagException", message, code=code, field="tags")


def tag_resource(services: Services, call: Call) -> Answer:
    """`TagResource`"""
    asked = Translated(TagResourceRequest, lambda request: TagsBody(tags=tags_of(request.tags)))

    def before(_permit: Permit, key: Key | None, _body: TagsBody) -> None:
        require_labelled(present(key), services.keystore.clock())

    def work(_permit: Permit, key: Key | None, body: TagsBody) -> Answer:
        services.labels.tag(present(key), body.tags)
        return Answer(None, recorded={"tags": body.tags})

    return services.pipeline.change(
        asked.of(call),
        Action.TAG_RESOURCE,
        TagsBody,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
        lambda body: requested_tags(body.tags),
        before=before,
    )


def untag_resource(services: Services, call: Call) -> Answer:
    """`UntagResource`"""
    asked = Translated(UntagResourceRequest, _names)

    def before(_permit: Permit, key: Key | None, _body: TagNames) -> None:
        require_labelled(present(key), services.keystore.clock())

    def work(_permit: Permit, key: Key | None, body: TagNames) -> Answer:
        services.labels.untag(present(key), body.names)
        return Answer(None, recorded={"tags_removed": body.names})

    return services.pipeline.change(
        asked.of(call),
        Action.UNTAG_RESOURCE,
        TagNames,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
        untagging_details,
        before=before,
    )


def _names(request: UntagResourceRequest) -> TagNames:
    with _malformed_tags():
        check_tag_names(request.tag_keys)
    return TagNames(names=list(dict.fromkeys(request.tag_keys)))


def list_resource_tags(services: Services, call: Call) -> Answer:
    """`ListResourceTags`"""

    def work(_permit: Permit, key: Key | None, body: ListResourceTagsRequest) -> Answer:
        begin, limit = after(body.marker, "Tags"), body.limit or _USUAL_PAGE
        tags = sorted((name, value) for name, value in present(key).tags.items() if begin is None or name > begin)
        shown = [{"TagKey": name, "TagValue": value} for name, value in tags[:limit]]
        return Answer(page("Tags", shown, tags[limit - 1][0] if len(tags) > limit else None))

    def reference(body: ListResourceTagsRequest) -> str:
        return administered(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.LIST_RESOURCE_TAGS, ListResourceTagsRequest, work, reference)


OPERATIONS: Final = (
    KmsOperation("TagResource", TagResourceRequest, tag_resource, (Action.TAG_RESOURCE,)),
    KmsOperation("UntagResource", UntagResourceRequest, untag_resource, (Action.UNTAG_RESOURCE,)),
    KmsOperation("ListResourceTags", ListResourceTagsRequest, list_resource_tags, (Action.LIST_RESOURCE_TAGS,)),
)
