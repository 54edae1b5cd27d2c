"""The log as it is served: what the checkpoint covers and nothing else, to be kept for ever or asked for again."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from sqlalchemy import select, update

from keystore.db.schema import LOG_ENTRIES, LOG_HEADS
from signer.audit.tree import leaf_hash
from signer.published_logs import PublishedLogs
from tests.signer.audit.naive_tree import NaiveTree
from tests.signer.audit.software_log import numbered
from tests.signer.service import ServiceInProcess, running_service
from tests.verifier.log_builder import cosign, witness_signer
from verifier import Rejected, parse_trust
from verifier.log_proofs import verify_log_proof

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.test import TestResponse

    from keystore.hsm import Token

MESSAGE = {"message": "AAAA"}


@pytest.fixture(scope="module")
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    """A service whose log has a full tile of level 0 and a bit."""
    with running_service(token, tmp_path_factory.mktemp("log")) as service:
        service.make_key("device", "ECC_NIST_P256", "general")
        service.made("role/ci", "POST", "/v1/keys/device/signatures", {"items": [MESSAGE] * 300})
        yield service


def get(world: ServiceInProcess, path: str, method: str = "GET", **headers: str) -> TestResponse:
    return world.call(None, method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def size_of(note: str) -> int:
    return int(note.split("\n")[1])


def served_leaves(world: ServiceInProcess, base: str, size: int) -> list[bytes]:
    """Every entry that the checkpoint covers, from its bundles."""
    leaves: list[bytes] = []
    while len(leaves) < size:
        width = min(256, size - len(leaves))
        name = f"{len(leaves) // 256:03}" + ("" if width == 256 else f".p/{width}")
        bundle = get(world, f"{base}/tile/entries/{name}").data
        while bundle:
            length = int.from_bytes(bundle[:2])
            leaves.append(bundle[2 : 2 + length])
            bundle = bundle[2 + length :]
    return leaves


@pytest.mark.parametrize("former", [False, True])
def test_checkpoint_entries_and_tiles_agree(world: ServiceInProcess, former: bool) -> None:
    origin = world.services.audit.log.signer.name
    base = f"/logs/{origin.rpartition('/')[2]}" if former else "/log"
    note = get(world, f"{base}/checkpoint")
    assert (note.status_code, note.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    text = note.get_data(as_text=True)
    size = size_of(text)
    tree = NaiveTree([leaf_hash(leaf) for leaf in served_leaves(world, base, size)])
    root = base64.b64encode(tree.root(0, size)).decode()
    assert text.split("\n")[:3] == [origin, str(size), root]
    assert get(world, f"{base}/tile/0/000").data == b"".join(tree.hashes[:256])
    assert get(world, f"{base}/tile/0/001.p/{size - 256}").data == b"".join(tree.hashes[256:size])
    assert get(world, f"{base}/tile/1/000.p/1").data == tree.root(0, 256)
    key = get(world, f"{base}/key").get_data(as_text=True)
    assert key == f"{world.services.audit.log.signer.verifier_key}\n"


def test_partial_tiles_of_every_width_are_kept(world: ServiceInProcess) -> None:
    """Whoever read the log at a smaller size gets the same octets as then (tlog-tiles, "Partial Tiles")."""
    full = get(world, "/log/tile/0/000").data
    bundle = get(world, "/log/tile/entries/000").data
    for width in (1, 2, 100, 255):
        assert get(world, f"/log/tile/0/000.p/{width}").data == full[: width * 32]
        assert bundle.startswith(get(world, f"/log/tile/entries/000.p/{width}").data)


def test_only_what_a_checkpoint_covers_is_served(world: ServiceInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is committed and has no checkpoint yet, since none can be made, is nobody's business."""
    size = size_of(get(world, "/log/checkpoint").get_data(as_text=True))
    width = size - 256
    assert get(world, f"/log/tile/0/001.p/{width}").status_code == 200
    world.services.audit.log.append(numbered(0, 1), proved=True)
    covered = size_of(get(world, "/log/checkpoint").get_data(as_text=True))
    database = world.services.keystore.database
    try:
        with database.write() as connection:
            connection.execute(update(LOG_HEADS).values(checkpoint_size=size))
        monkeypatch.setattr(world.services.audit.log, "publish", lambda: None)
        for path in (f"tile/0/001.p/{width + 1}", f"tile/entries/001.p/{width + 1}", f"proof/{size}"):
            assert get(world, f"/log/{path}").status_code == 404, path
    finally:
        with database.write() as connection:
            connection.execute(update(LOG_HEADS).values(checkpoint_size=covered))
    for path in (f"tile/0/001.p/{width + 1}", f"tile/entries/001.p/{width + 1}", f"proof/{size}"):
        assert get(world, f"/log/{path}").status_code == 200, path


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/002",  # not there yet
        "tile/0/001",  # not full yet
        "tile/1/000",
        "tile/1/000.p/2",
        "tile/2/000.p/1",
        "tile/63/000.p/1",
        "tile/64/000.p/1",
        "tile/00/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/000",  # the same tile, named otherwise
        "tile/0/000/000",
        "tile/0/x000",
        "tile/0/000/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/1000",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1/1",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/0/%30%30%30x",
        "tile/entries/002",
        "tile/entries/000.p/256",
        "tile/entries/",
        "tile/data/000",
        "proof/999999999",
        "proof/-1",
        "proof/01",
        "proof/1e3",
        "proof/\N{ARABIC-INDIC DIGIT ONE}",
        "proof/9999999999999999999999",
        "",
    ],
)
def test_anything_else_is_404_and_not_cached(world: ServiceInProcess, path: str) -> None:
    answer = get(world, f"/log/{path}")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_parameter_is_refused_that_would_do_nothing(world: ServiceInProcess) -> None:
    for path in ("checkpoint?size=1", "tile/0/000?width=1", "tile/entries/000?a=b", "proof/0?size=1", "key?a=b"):
        assert get(world, f"/log/{path}").status_code == 422
    assert get(world, "/log/checkpoint?cosigned=1").get_json()["field"] == "cosigned"


@pytest.mark.parametrize(
    ("path", "media_type", "caching"),
    [
        ("checkpoint", "text/plain; charset=utf-8", "no-cache"),
        ("proof/0", "text/plain; charset=utf-8", "no-cache"),
        ("key", "text/plain; charset=utf-8", "no-cache"),
        ("tile/0/000", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("tile/0/001.p/1", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("tile/entries/000", "application/octet-stream", "public, max-age=31536000, immutable"),
    ],
)
def test_what_caches_may_keep(world: ServiceInProcess, path: str, media_type: str, caching: str) -> None:
    answer = get(world, f"/log/{path}")
    assert answer.headers["Content-Type"] == media_type
    assert answer.headers["Cache-Control"] == caching
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    again = get(world, f"/log/{path}", If_None_Match=answer.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    headers = world.client.head(f"/log/{path}")
    assert (headers.status_code, headers.data) == (200, b"")
    assert headers.headers["Content-Length"] == str(len(answer.data))


def test_a_proof_of_any_entry_verifies_by_the_published_trust(world: ServiceInProcess) -> None:
    trust = parse_trust(get(world, "/v1/trust").data)
    assert [log.origin for log in trust.logs] == [world.services.audit.log.signer.name]
    for index in (0, 1, 255, 256, 299):
        proof = get(world, f"/log/proof/{index}").data
        found = verify_log_proof(proof, trust.logs, clock=world.services.keystore.clock())
        assert found.index == index
        assert len(proof) <= 4096


def test_the_proof_of_an_answer_can_be_fetched_anew(world: ServiceInProcess) -> None:
    (result,) = world.made("role/ci", "POST", "/v1/keys/device/signatures", MESSAGE)["results"]
    old = result["proof"].split("\n")
    assert old[0] == "c2sp.org/tlog-proof@v1"
    index = int(old[2].removeprefix("index "))
    world.services.audit.log.append(numbered(1000, 3), proved=True)
    new = get(world, f"/log/proof/{index}").get_data(as_text=True)
    assert new.split("\n")[:3] == old[:3]
    assert size_of(new.partition("\n\n")[2]) == size_of(result["proof"].partition("\n\n")[2]) + 3
    leaf = base64.b64decode(old[1].removeprefix("extra "))
    assert hashlib.sha256(base64.b64decode(result["signature"])).hexdigest().encode() in leaf


def test_a_cosigned_checkpoint_is_preferred_where_it_covers(world: ServiceInProcess) -> None:
    note = get(world, "/log/checkpoint").get_data(as_text=True)
    size = size_of(note)
    assert get(world, "/log/checkpoint?cosigned=true").status_code == 404
    cosigned = f"{note}— witness.example/w1 AAAAAA==\n"
    set_cosigned(world, size, cosigned)
    try:
        assert get(world, "/log/checkpoint").get_data(as_text=True) == cosigned
        world.services.audit.log.append(numbered(2000, 2), proved=True)
        newest = get(world, "/log/checkpoint").get_data(as_text=True)
        assert size_of(newest) == size + 2
        assert get(world, "/log/checkpoint?cosigned=true").get_data(as_text=True) == cosigned
        assert get(world, f"/log/proof/{size - 1}").get_data(as_text=True).endswith(f"\n\n{cosigned}")
        assert get(world, f"/log/proof/{size + 1}").get_data(as_text=True).endswith(f"\n\n{newest}")
    finally:
        set_cosigned(world, 0, None)


def set_cosigned(world: ServiceInProcess, size: int, note: str | None) -> None:
    with world.services.keystore.database.write() as connection:
        connection.execute(update(LOG_HEADS).values(cosigned_size=size, cosigned=note))


def test_a_former_log_stays_readable_and_trusted(world: ServiceInProcess) -> None:
    """What a restore on another HSM leaves: a log that has stopped, below the one that grows."""
    database = world.services.keystore.database
    with database.write() as connection:
        (growing,) = connection.execute(select(LOG_HEADS)).mappings().all()
        shifted = {"log": 1, "origin": growing["origin"] + "-now", "first": growing["first"] + 10}
        size = growing["checkpoint_size"] - 10
        connection.execute(update(LOG_HEADS).values(log=0))
        later = {**growing, **shifted, "size": size, "checkpoint_size": size}
        connection.execute(LOG_HEADS.insert().values(later))
    identifier = growing["origin"].rpartition("/")[2]
    try:
        assert get(world, f"/logs/{identifier}/checkpoint").get_data(as_text=True) == growing["checkpoint"]
        bundle = get(world, f"/logs/{identifier}/tile/entries/000").data
        first, tenth = (leaf_of(world, path) for path in (f"/logs/{identifier}/proof/0", "/log/proof/0"))
        assert bundle[2 : 2 + len(first)] == first != tenth
        keys = [log["key"].partition("+")[0] for log in get(world, "/v1/trust").get_json()["logs"]]
        assert keys == [later["origin"], growing["origin"]]
        assert get(world, f"/logs/{identifier}-now/key").get_data(as_text=True).startswith(f"{later['origin']}+")
        assert get(world, "/logs/0000000000000000/key").status_code == 404
    finally:
        with database.write() as connection:
            connection.execute(LOG_HEADS.delete().where(LOG_HEADS.c.log == 1))
            connection.execute(update(LOG_HEADS).values(log=growing["log"]))


def test_witnesses_of_the_configuration_are_named_in_trust(world: ServiceInProcess) -> None:
    witness = witness_signer().text
    logs = PublishedLogs(world.services.keystore.database, [witness], 1).trusted()
    bundle = msgspec.json.encode({**get(world, "/v1/trust").get_json(), "logs": logs})
    (trusted,) = parse_trust(bundle).logs
    assert ([key.name for key in trusted.witnesses], trusted.cosignatures) == (["witness.example/w1"], 1)
    proof = get(world, "/log/proof/0").data
    with pytest.raises(Rejected, match="cosigned its head"):
        verify_log_proof(proof, [trusted], clock=world.services.keystore.clock())
    note = get(world, "/log/checkpoint").data
    set_cosigned(world, size_of(note.decode()), cosign(note, witness_signer(), datetime.now(UTC)).decode())
    try:
        found = verify_log_proof(get(world, "/log/proof/0").data, [trusted], clock=datetime.now(UTC))
        assert found.proven_at is not None
    finally:
        set_cosigned(world, 0, None)


def leaf_of(world: ServiceInProcess, path: str) -> bytes:
    return base64.b64decode(get(world, path).get_data(as_text=True).split("\n")[1].removeprefix("extra "))


def test_a_missing_row_is_an_integrity_failure_and_no_shorter_answer(world: ServiceInProcess) -> None:
    database = world.services.keystore.database
    with database.write() as connection:
        row = dict(connection.execute(select(LOG_ENTRIES).where(LOG_ENTRIES.c.seq == 20)).mappings().one())
        connection.execute(LOG_ENTRIES.delete().where(LOG_ENTRIES.c.seq == 20))
    try:
        for path in ("tile/0/000.p/30", "tile/entries/000", "proof/21"):
            answer = get(world, f"/log/{path}")
            assert (answer.status_code, answer.get_json()["code"]) == (503, "integrity_failure")
        assert get(world, "/log/tile/0/000").status_code == 200  # as it was when it became full
    finally:
        with database.write() as connection:
            connection.execute(LOG_ENTRIES.insert().values(row))
