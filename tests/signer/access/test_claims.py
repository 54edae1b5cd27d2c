"""Which claims become which role: typed values, whole segments, and mappings that would let strangers in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystore.trust import RoleMapping
from signer.access.claims import flaw_of_claim, flaw_of_mapping, flaw_of_value, roles_of

if TYPE_CHECKING:
    from keystore.trust import ClaimValue

GITHUB: Final = "https://token.actions.githubusercontent.com"
PRIVATE: Final = "https://gitlab.shop.example"


def fits(value: ClaimValue, claim: object) -> bool:
    return bool(roles_of([RoleMapping("role/ci", {"claim": (value,)})], {"claim": claim}))


@pytest.mark.parametrize(
    ("value", "claim", "expected"),
    [
        ("octo/app", "octo/app", True),
        # GitHub's prefixes: another repository, another owner, another kind of run
        ("octo/app", "octo/app-evil", False),
        ("octo/app", "octo/App", False),
        ("octo/app", "octo/app ", False),
        ("octo/app", "octo/app\n", False),
        ("octo/app", "evil/octo/app", False),
        ("octo/app", "оcto/app", False),  # noqa: RUF001 - a Cyrillic letter
        ("repo:octo/app:ref:refs/heads/main", "repo:octo/app:pull_request", False),
        ("refs/heads/main", "refs/pull/7/merge", False),
        ("refs/heads/*", "refs/pull/7/merge", False),
        ("repo:octo/app:**", "repo:octo/app-evil:ref:refs/heads/main", False),
        ("repo:octo/app:**", "repo:octo/app:ref:refs/heads/main", True),
        ("repo:octo/app:**", "repo:octo/app:pull_request", True),
        ("repo:octo/app:**", "repo:octo/app:", False),
        ("repo:octo/app:**", "repo:octo/app", False),
        ("repo:octo/*:environment:release", "repo:octo/app:environment:release", True),
        ("repo:octo/*:environment:release", "repo:octo/a/b:environment:release", False),
        ("repo:octo/*:environment:release", "repo:octo/app:environment:x:environment:release", False),
        ("repo:octo/*:environment:release", "repo:octo/:environment:release", False),
        ("refs/tags/*", "refs/tags/v1.0", True),
        ("refs/tags/*", "refs/tags/", False),
        ("refs/tags/*", "refs/tags/v1/x", False),
        ("refs/tags/*", "refs/tags:v1", False),
        # what means something to other matchers is a character like any other here
        ("octo/app", "octo/*", False),
        ("octo/a.p", "octo/app", False),
        ("octo/[a-z]", "octo/a", False),
        ("octo/?pp", "octo/app", False),
        ("octo/*", "octo/*", True),
        ("octo/*", "octo/**", True),  # a name with stars is one segment, no pattern
        # types
        (74, 74, True),
        (74, "74", False),
        ("74", 74, False),
        (1, True, False),
        (True, 1, False),
        (True, True, True),
        (True, "true", False),
        ("octo/app", None, False),
        ("octo/app", {"octo/app": 1}, False),
        ("*", 7, False),
        (0, False, False),
        (1, 1.0, False),
        # lists of texts: one must fit
        ("release", ["dev", "release"], True),
        ("release", ["dev"], False),
        ("release", [], False),
        ("release", [["release"]], False),
        (7, [7], False),
    ],
)
def test_a_claim_fits_by_type_and_by_whole_segments(value: ClaimValue, claim: object, expected: bool) -> None:
    assert fits(value, claim) is expected


@given(st.text(alphabet="ab/:*-", min_size=1, max_size=12), st.text(alphabet="ab/:*-", max_size=12))
def test_a_pattern_lets_in_what_has_its_segments_and_nothing_else(pattern: str, text: str) -> None:
    """Against a slow reading: segment by segment, by recursion."""

    def parts(whole: str) -> list[str]:
        found = [""]
        for character in whole:
            found += [character, ""] if character in "/:" else []
            if character not in "/:":
                found[-1] += character
        return found

    def agrees(wanted: list[str], found: list[str]) -> bool:
        if wanted == ["**"]:
            return bool(found) and found[0] != ""
        if not wanted or not found:
            return not wanted and not found
        here = found[0] not in ("", "/", ":") if wanted[0] == "*" else wanted[0] == found[0]
        return here and agrees(wanted[1:], found[1:])

    if flaw_of_value(pattern) is None:
        assert fits(pattern, text) is agrees(parts(pattern), parts(text))


def test_every_condition_must_hold_and_a_missing_claim_holds_nothing() -> None:
    mapping = RoleMapping("role/ci", {"repository": ("octo/app", "octo/lib"), "ref": ("refs/heads/main",)})
    assert roles_of([mapping], {"repository": "octo/lib", "ref": "refs/heads/main"}) == {
        "role/ci": {"repository": "octo/lib", "ref": "refs/heads/main"}
    }
    for claims in ({"repository": "octo/lib"}, {"ref": "refs/heads/main"}, {}, {"repository": None, "ref": None}):
        assert roles_of([mapping], claims) == {}


def test_a_claim_deep_inside_is_named_by_a_json_pointer() -> None:
    claims: dict[str, Any] = {
        "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "signer"}, "a/b": {"m~n": "x"}}
    }

    def found(pointer: str, value: str) -> bool:
        return bool(roles_of([RoleMapping("role/ci", {pointer: (value,)})], claims))

    assert found("/kubernetes.io/namespace", "ci")
    assert found("/kubernetes.io/serviceaccount/name", "signer")
    assert found("/kubernetes.io/a~1b/m~0n", "x")
    for pointer in ("kubernetes.io", "/kubernetes.io", "/kubernetes.io/namespace/x", "/kubernetes/io/namespace", "/"):
        assert not found(pointer, "ci")


@pytest.mark.parametrize(
    "value",
    ["octo/app*", "octo*", "*-release", "octo/*x", "**/app", "octo/**/x", "octo/***", "a**", "", "octo\n", "octo\x00"],
)
def test_a_star_that_is_no_whole_segment_is_refused(value: str) -> None:
    assert flaw_of_value(value) is not None


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "iat", "nbf", "jti", "/aud", "a\nb", "/a~2b"])
def test_what_every_token_has_is_no_condition(claim: str) -> None:
    assert flaw_of_claim(claim) is not None
    assert flaw_of_claim("repository") is None


@pytest.mark.parametrize(
    ("url", "conditions", "who"),
    [
        (GITHUB, {"repository": ("octo/app",)}, True),
        (GITHUB, {"repository": ("octo/*",)}, True),
        (GITHUB, {"repository": ("octo/app", "*/app")}, False),  # one value of the list is everybody's
        (GITHUB, {"repository": ("*/app",)}, False),
        (GITHUB, {"repository": ("**",)}, False),
        (GITHUB, {"sub": ("repo:octo/app:environment:release",)}, True),
        (GITHUB, {"sub": ("repo:octo/**",)}, True),
        (GITHUB, {"sub": ("repo:*/app:**",)}, False),
        (GITHUB, {"sub": ("repo:**",)}, False),
        (GITHUB, {"ref": ("refs/heads/main",)}, False),
        (GITHUB, {"environment": ("release",), "event_name": ("push",)}, False),
        (GITHUB, {"job_workflow_ref": ("octo/app/.github/workflows/sign.yml@refs/heads/main",)}, False),
        (GITHUB, {"repository_owner_id": (74,)}, True),
        (GITHUB + "/octo-enterprise", {"ref": ("refs/heads/main",)}, False),
        (GITHUB.replace("token", "TOKEN"), {"ref": ("refs/heads/main",)}, False),
        ("https://gitlab.com", {"ref_protected": ("true",)}, False),
        ("https://gitlab.com", {"project_path": ("shop/app",)}, True),
        ("https://accounts.google.com", {"email_verified": (True,)}, False),
        (PRIVATE, {"ref_protected": ("true",)}, True),
        (PRIVATE, {"sub": ("*",)}, False),
        (PRIVATE, {"sub": ("*/*:**",), "ref": ("*",)}, False),
        (PRIVATE, {"sub": ("project_path:*/*",)}, True),
    ],
)
def test_a_mapping_for_everybody_is_refused(url: str, conditions: dict[str, tuple[ClaimValue, ...]], who: bool) -> None:
    flaw = flaw_of_mapping(url, RoleMapping("role/ci", conditions))
    assert (flaw is None) is who
    assert who or "condition" in str(flaw)
