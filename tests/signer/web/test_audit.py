"""`/v1/audit`: what auditors find, that it is the record and provable, and that no hand on the database passes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from sqlalchemy import delete, insert, select, update

from keystore.db.schema import LOG_DIGESTS, LOG_ENTRIES, ROW_JOURNAL
from signer.audit.searching import WINDOWS
from signer.audit.tree import leaf_hash
from signer.web.openapi import document
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.signer.service import ServiceInProcess

AUDITOR: Final = "user/auditor"
FILE: Final = hashlib.sha256(b"app").hexdigest()
OTHER_FILE: Final = hashlib.sha256(b"other").hexdigest()
STRANGE: Final = {"repository": 'shop/a_p%"\\é', "run": "7"}


@pytest.fixture(scope="module")
def told(own_service: ServiceInProcess) -> dict[str, Any]:
    """Something of everything: signatures of files and tokens, refusals, changes; what was answered by its name."""
    service = own_service
    key = service.make_key("release", formats=["cms", "raw"])
    other = service.make_key("other", spec="ECC_NIST_P384", formats=["raw", "dsse"])
    file = {"name": "app", "size": 3, "digests": {"sha256": FILE}}
    body = {"artifacts": [file], "formats": ["cms", "raw"], "context": STRANGE}
    signed = service.made("role/ci", "POST", "/v1/keys/release/artifacts", body)
    files = [
        {"name": name, "size": 3, "digests": {"sha256": digest}} for name, digest in (("app", FILE), ("b", OTHER_FILE))
    ]
    stated = service.made(
        "role/ci", "POST", "/v1/keys/other/artifacts", {"artifacts": files, "formats": ["dsse"], "statement": "one"}
    )
    headers = {"X-Request-Id": "build-17"}
    refused = service.call("role/other", "POST", "/v1/keys/release/artifacts", body, headers)
    assert refused.status_code == 404
    assert service.call("user/admin", "GET", "/v1/keys/release").status_code == 403
    policy = {"administrators": ["user/key-admin"], "users": ["role/ci", "role/other"], "reason": "another pipeline"}
    service.made("user/key-admin", "PUT", "/v1/keys/release/policy", policy)
    grant = {"grantee": "role/other", "operations": ["SignArtifact"], "name": "nightly"}
    granted = service.made("user/key-admin", "POST", "/v1/keys/other/grants", grant)
    return {
        "key": key["id"],
        "other": other["id"],
        "signed": signed["results"][0],
        "stated": stated["results"][0],
        "refused": refused.headers["X-Request-Id"],
        "grant": granted["id"],
    }


def found(service: ServiceInProcess, query: str = "") -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = service.made(AUDITOR, "GET", f"/v1/audit/entries?{query}")["entries"]
    return entries


def indices(service: ServiceInProcess, query: str = "") -> list[int]:
    return [entry["index"] for entry in found(service, query)]


def row_of(service: ServiceInProcess, index: int) -> dict[str, Any]:
    with service.services.keystore.database.read() as connection:
        wanted = select(LOG_ENTRIES).where(LOG_ENTRIES.c.seq == index)  # of the first log
        return dict(connection.execute(wanted).mappings().one())


@contextmanager
def edited(service: ServiceInProcess, index: int, **values: object) -> Iterator[None]:
    """A hand on one row of the log, taken away again."""
    kept = row_of(service, index)
    database = service.services.keystore.database

    def write(changed: dict[str, Any]) -> None:
        with database.write() as connection:
            connection.execute(update(LOG_ENTRIES).where(LOG_ENTRIES.c.seq == index).values(changed))

    write(dict(values))
    try:
        yield
    finally:
        write({name: kept[name] for name in values})


def signing_entry(service: ServiceInProcess) -> int:
    return indices(service, "key=release&action=SignArtifact&outcome=succeeded")[0]


def test_an_entry_is_found_by_each_of_its_sides(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    index = signing_entry(own_service)
    entry = own_service.made(AUDITOR, "GET", f"/v1/audit/entries/{index}")
    record = entry["record"]
    raw = base64.b64decode(told["signed"]["signatures"]["raw"])
    queries = (
        *("key=release", f"key={told['key']}", "principal=role/ci", "action=SignArtifact", "action=kms:signartifact"),
        *("outcome=succeeded", "context=run=7", f"context={quote('repository=' + STRANGE['repository'])}"),
        *(f"digest={FILE}", f"digest={hashlib.sha256(raw).hexdigest()}", f"digest={'0' * 96},{FILE}"),
        *(f"digest={record['signatures'][0]['sha256']}", f"digest={record['signatures'][1]['digest']}"),
        *(f"request_id={record['request_id']}", "kind=decision", "kind=any&limit=1000", "order=oldest&limit=1000"),
        *("order=log&limit=1000", f"from={quote(record['time'])}"),
    )
    for query in queries:
        assert index in indices(own_service, query), query
    after = quote((datetime.fromisoformat(record["time"]) + timedelta(microseconds=1)).isoformat())
    others = (
        *("key=other", "principal=role/other", "action=Sign", "outcome=denied", "context=run=8", "kind=rows"),
        *("context=repository=shop/a_p%25", f"digest={'0' * 64}", "request_id=x", "caller_request_id=build-17"),
        *(f"from={after}", f"to={quote(record['time'])}", "subject=role/ci", "code=policy_forbids", "kind=count"),
    )
    for query in others:
        assert index not in indices(own_service, query), query


def test_what_was_refused_is_found_by_what_the_caller_wrote(
    own_service: ServiceInProcess, told: dict[str, Any]
) -> None:
    (entry,) = found(own_service, "caller_request_id=build-17")
    assert entry["record"]["request_id"] == told["refused"]
    assert (entry["record"]["outcome"], entry["record"]["code"]) == ("denied", "not_found")
    assert (entry["record"]["key_id"], entry["key_alias"]) == (told["key"], "release")
    assert entry["index"] in indices(own_service, f"key={told['key']}&outcome=denied")
    # Before any key is looked up, there is only what the caller wrote.
    (early,) = found(own_service, "principal=user/admin&key=release&code=duty_forbids")
    assert (early["record"]["key_id"], early["key_alias"]) == ("release", "release")
    assert early["index"] in indices(own_service, f"key={told['key']}")


def test_every_file_of_a_statement_and_every_signature_of_an_item_leads_to_it(
    own_service: ServiceInProcess, told: dict[str, Any]
) -> None:
    both = [set(indices(own_service, f"digest={digest}")) for digest in (FILE, OTHER_FILE)]
    (only,) = both[1]
    assert only in both[0]
    assert len(both[0]) == 2
    with own_service.services.keystore.database.read() as connection:
        rows = connection.execute(select(LOG_DIGESTS.c.digest, LOG_DIGESTS.c.seq)).all()
    for index, files in ((only, {FILE, OTHER_FILE}), (signing_entry(own_service), {FILE})):
        made = own_service.made(AUDITOR, "GET", f"/v1/audit/entries/{index}")["record"]["signatures"]
        kept = sorted(digest.hex() for digest, seq in rows if seq == index)
        assert kept == sorted(files | {digest for one in made for digest in one.values()})  # once each


def test_texts_are_no_patterns(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    index = signing_entry(own_service)
    for value in ("%", "_", "shop/a%", "shop/a_p_", 'SHOP/A_P%"\\é', "' OR 1=1 --"):
        assert index not in indices(own_service, f"context={quote('repository=' + value)}")
        assert index not in indices(own_service, f"principal={quote(value)}")
        assert index not in indices(own_service, f"code={quote(value)}")
    for name in ("repositor_", "%", "detail"):
        assert index not in indices(own_service, f"context={quote(name + '=' + STRANGE['repository'])}")
    # A value that looks like another member of the record is not one.
    assert index not in indices(own_service, f"context={quote('action=SignArtifact')}")


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("query", ["", "&key=release", "&principal=role/ci", "&kind=any", "&outcome=denied"])
def test_pages_hold_each_entry_once(
    own_service: ServiceInProcess, told: dict[str, Any], order: str, query: str
) -> None:
    until = f"&to={quote(found(own_service, 'limit=1')[0]['record']['time'])}"  # what is asked here is recorded too
    at_once = indices(own_service, f"order={order}&limit=1000{query}{until}")
    paged: list[int] = []
    cursor = ""
    for _ in range(len(at_once) + 1):
        page = own_service.made(AUDITOR, "GET", f"/v1/audit/entries?order={order}&limit=3{query}{until}{cursor}")
        paged += [entry["index"] for entry in page["entries"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert paged == at_once
    assert len(set(paged)) == len(paged)
    assert paged


def test_a_search_of_few_among_many_goes_on_window_by_window(
    own_service: ServiceInProcess, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = indices(own_service, "code=not_found&limit=1000")
    monkeypatch.setattr("signer.audit.searching.WINDOWS", (2, 3))
    short, cursor, empty = [], "", 0
    for _ in range(200):
        page = own_service.made(AUDITOR, "GET", f"/v1/audit/entries?code=not_found&limit=1{cursor}")
        short += [entry["index"] for entry in page["entries"]]
        empty += not page["entries"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert short == wanted
    assert empty  # pages that only went on
    assert sum(WINDOWS) <= 50_000


def test_the_order_of_the_log_goes_on_where_it_was(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    first = own_service.made(AUDITOR, "GET", "/v1/audit/entries?order=log&limit=5&kind=any")
    assert [entry["index"] for entry in first["entries"]] == list(range(5))
    cursor = own_service.made(AUDITOR, "GET", "/v1/audit/entries?limit=1")["log_cursor"]
    seen: list[int] = []
    for number in range(3):
        name = f"step-{number}"
        own_service.call("role/ci", "GET", "/v1/whoami", headers={"X-Request-Id": name})
        page = own_service.made(AUDITOR, "GET", f"/v1/audit/entries?order=log&kind=any&cursor={cursor}")
        assert name in [(entry["record"] or {}).get("caller_request_id") for entry in page["entries"]]
        seen += [entry["index"] for entry in page["entries"]]
        cursor = page["next_cursor"]
    assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(("from=yesterday", "from"), ("to=2026-11-25T10:00:00", "to"), ("from=2026-13-01T00:00:00Z", "from")),
        *(("from=2026-11-25T10:00:00Z&to=2026-11-25T10:00:00Z", "to"), ("digest=xyz", "digest"), ("digest=", "digest")),
        *((f"digest={'A' * 64}", "digest"), (f"digest={','.join(['0' * 64] * 33)}", "digest"), ("key=a%20b", "key")),
        *(("context=run", "context"), ("context==7", "context"), ("outcome=good", "outcome"), ("kind=x", "kind")),
        *(("order=random", "order"), ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=1e3", "limit")),
        *(("principal=", "principal"), ("action=SignArtefact", "action"), ("action=DecryptAll", "action")),
        *(("x=1", "x"), ("key=a&key=b", "key"), (f"principal={'x' * 257}", "principal")),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_its_name(
    own_service: ServiceInProcess, query: str, field: str
) -> None:
    answer = own_service.call(AUDITOR, "GET", f"/v1/audit/entries?{query}")
    assert answer.status_code == 422, answer.get_data(as_text=True)
    assert answer.get_json()["field"] == field
    assert "sk_" not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "cursor",
    [
        *("newest.1", "newest.1.2.3", "oldest.1.2", "log.5", "newest.-1.2", "newest.01.2", "newest.1.2 "),
        *("", "x", "newest.9999999999999999999.1", "newest.1.2; DROP TABLE log_entries"),
    ],
)
def test_forged_cursors_are_refused(own_service: ServiceInProcess, told: dict[str, Any], cursor: str) -> None:
    forged = base64.urlsafe_b64encode(cursor.encode()).decode()
    answer = own_service.call(AUDITOR, "GET", f"/v1/audit/entries?cursor={forged}")
    assert_refused(answer, 422, "malformed_request", "cursor")


def test_a_cursor_beyond_the_end_finds_nothing(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    far = base64.urlsafe_b64encode(b"log.999999999999999999").decode()
    page = own_service.made(AUDITOR, "GET", f"/v1/audit/entries?order=log&cursor={far}")
    assert page["entries"] == []


def test_an_entry_stands_there_in_full_with_its_proof(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    entry = own_service.made(AUDITOR, "GET", f"/v1/audit/entries/{signing_entry(own_service)}")
    row = row_of(own_service, entry["index"])
    leaf = base64.b64decode(entry["leaf"])
    assert (leaf, json.loads(row["record"])) == (row["leaf"], entry["record"])
    canonical = msgspec.json.encode(entry["record"], order="sorted")
    committed = hashlib.sha256(bytes.fromhex(entry["nonce"]) + canonical).hexdigest()
    assert json.loads(leaf)["record_sha256"] == committed
    assert entry["leaf_hash"] == leaf_hash(leaf).hex()
    text = entry["proof"]["text"]
    assert text.startswith(f"c2sp.org/tlog-proof@v1\nextra {entry['leaf']}\nindex {entry['index']}\n")
    assert text.split("\n\n")[1].split("\n")[:2] == [entry["origin"], str(entry["proof"]["size"])]
    assert entry["record"]["context"] == STRANGE


def test_the_proof_is_the_one_that_the_signature_came_with(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    entry = own_service.made(AUDITOR, "GET", f"/v1/audit/entries/{signing_entry(own_service)}")
    given = told["signed"]["proof"].split("\n")[1:3]
    assert given == entry["proof"]["text"].split("\n")[1:3]  # the leaf and its index


def test_a_changed_row_is_shown_with_what_the_journal_says(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    entry = found(own_service, "kind=rows&limit=1")[0]
    full = own_service.made(AUDITOR, "GET", f"/v1/audit/entries/{entry['index']}")
    assert full["record"] is None
    assert full["row"] == entry["row"]
    leaf = json.loads(base64.b64decode(full["leaf"]))
    with own_service.services.keystore.database.read() as connection:
        row = connection.execute(select(ROW_JOURNAL).where(ROW_JOURNAL.c.seq == leaf["journal"])).one()
    assert (row.table_name, row.row_id, row.link.hex()) == (full["row"]["table"], full["row"]["id"], leaf["link"])
    with edited(own_service, entry["index"], leaf=full["leaf"].encode()):
        refused = own_service.call(AUDITOR, "GET", f"/v1/audit/entries/{entry['index']}")
        assert_refused(refused, 503, "integrity_failure", f"entries/{entry['index']}")


COLUMNS: Final = (
    *(("principal", "role/nobody"), ("action", "Sign"), ("outcome", "denied"), ("code", "x"), ("time", 1)),
    *(("key_id", "0" * 36), ("source", "192.0.2.1"), ("request_id", "0" * 32), ("caller_request_id", "x")),
    *(("credential", "bearer:x"), ("subject", "user/x"), ("item", 5), ("intent_id", "x"), ("kind", "count")),
    *(("digest", b"x" * 32), ("signature_sha256", None), ("artifact_digest", b"x" * 32), ("artifact_digest", None)),
    *(("detail", "{}"), ("proof", "{}"), ("epoch", "x"), ("nonce", b"x" * 32), ("leaf_hash", b"x" * 32)),
    *(("record", "{}"), ("record", "no JSON"), ("record", None), ("leaf", b"{}"), ("nonce", None)),
)


@pytest.mark.parametrize(("column", "value"), COLUMNS, ids=lambda value: str(value)[:20])
def test_an_edited_entry_is_refused_by_its_number(
    own_service: ServiceInProcess, told: dict[str, Any], column: str, value: object
) -> None:
    index = signing_entry(own_service)
    with edited(own_service, index, **{column: value}):
        shown = own_service.call(AUDITOR, "GET", f"/v1/audit/entries/{index}")
        listed = own_service.call(AUDITOR, "GET", "/v1/audit/entries?order=log&limit=1000&kind=any")
        assert_refused(shown, 503, "integrity_failure", f"entries/{index}")
        assert_refused(listed, 503, "integrity_failure", f"entries/{index}")
    assert own_service.call(AUDITOR, "GET", f"/v1/audit/entries/{index}").status_code == 200


def test_an_entry_forged_in_all_its_parts_is_not_in_the_tree(
    own_service: ServiceInProcess, told: dict[str, Any]
) -> None:
    index = signing_entry(own_service)
    row = row_of(own_service, index)
    record = json.loads(row["record"]) | {"principal": "role/other"}
    text = msgspec.json.encode(record, order="sorted").decode()
    committed = hashlib.sha256(row["nonce"] + text.encode()).hexdigest()
    leaf = msgspec.json.encode(json.loads(row["leaf"]) | {"record_sha256": committed}, order="sorted")
    forged = {"principal": "role/other", "record": text, "leaf": leaf, "leaf_hash": leaf_hash(leaf)}
    with edited(own_service, index, **forged):
        refused = own_service.call(AUDITOR, "GET", f"/v1/audit/entries/{index}")
        assert_refused(refused, 503, "integrity_failure", f"entries/{index}")


def test_a_missing_entry_is_missed(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    index = signing_entry(own_service)
    row = row_of(own_service, index)
    database = own_service.services.keystore.database
    with database.write() as connection:
        connection.execute(delete(LOG_ENTRIES).where(LOG_ENTRIES.c.seq == index))
    try:
        refused = own_service.call(AUDITOR, "GET", f"/v1/audit/entries/{index}")
        assert_refused(refused, 503, "integrity_failure", f"entries/{index}")
        followed = own_service.call(AUDITOR, "GET", "/v1/audit/entries?order=log&limit=1000")
        assert_refused(followed, 503, "integrity_failure")
    finally:
        with database.write() as connection:
            connection.execute(insert(LOG_ENTRIES).values(row))


@pytest.mark.parametrize("index", ["999999999", "-1", "x", "01", "1.5", "99999999999999999999", "%25"])
def test_there_is_no_such_entry(own_service: ServiceInProcess, index: str) -> None:
    assert_refused(own_service.call(AUDITOR, "GET", f"/v1/audit/entries/{index}"), 404, "not_found", "index")


def test_there_is_no_such_log(own_service: ServiceInProcess) -> None:
    for path in ("entries/0?log=7", "export?log=7"):
        assert_refused(own_service.call(AUDITOR, "GET", f"/v1/audit/{path}"), 404, "not_found", "log")
    assert own_service.made(AUDITOR, "GET", "/v1/audit/entries/0?log=1")["log"] == 1


def test_the_export_is_what_was_hashed(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    answer = own_service.call(AUDITOR, "GET", "/v1/audit/export")
    assert (answer.status_code, answer.mimetype) == (200, "application/jsonl")
    *lines, last = answer.get_data().splitlines()
    checkpoint = json.loads(last)["checkpoint"]
    size = int(checkpoint.split("\n")[1])
    assert [json.loads(line)["index"] for line in lines] == list(range(size))
    kinds = set()
    for line in lines:
        members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        leaf = json.loads(base64.b64decode(json.loads(bytes(members["leaf"]))))
        kinds.add("row" in members)
        if "row" in members:
            assert json.loads(bytes(members["row"]))["link"] == leaf["link"]
            continue
        nonce = bytes.fromhex(json.loads(bytes(members["nonce"])))
        assert hashlib.sha256(nonce + bytes(members["record"])).hexdigest() == leaf["record_sha256"]
    assert kinds == {True, False}


def test_the_export_comes_in_parts(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    whole = own_service.call(AUDITOR, "GET", "/v1/audit/export").get_data().splitlines()
    part = own_service.call(AUDITOR, "GET", "/v1/audit/export?from=3&limit=4").get_data().splitlines()
    assert part[:-1] == whole[3:7]
    assert int(json.loads(part[-1])["checkpoint"].split("\n")[1]) >= 7
    beyond = own_service.call(AUDITOR, "GET", "/v1/audit/export?from=999999999")
    assert_refused(beyond, 404, "not_found", "from")
    assert_refused(own_service.call(AUDITOR, "GET", "/v1/audit/export?cosigned=true"), 404, "not_found", "from")
    for query, field in (("limit=100001", "limit"), ("limit=0", "limit"), ("from=-1", "from"), ("x=1", "x")):
        assert_refused(own_service.call(AUDITOR, "GET", f"/v1/audit/export?{query}"), 422, "malformed_request", field)


def test_an_altered_record_is_exported_as_it_is(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    """For whoever checks the export to find: the service hides nothing of what happened to its database."""
    index = signing_entry(own_service)
    with edited(own_service, index, record='{"v":1}'):
        lines = own_service.call(AUDITOR, "GET", f"/v1/audit/export?from={index}&limit=1").get_data().splitlines()
    assert json.loads(lines[0])["record"] == {"v": 1}


def test_what_is_asked_is_recorded_too(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    asked = own_service.call(AUDITOR, "GET", "/v1/audit/entries?key=release&limit=2")
    (entry,) = found(own_service, f"request_id={asked.headers['X-Request-Id']}")
    assert entry["record"]["action"] == "ReadAuditTrail"
    assert entry["record"]["detail"] == {"key": "release", "limit": "2"}
    export = own_service.call(AUDITOR, "GET", "/v1/audit/export?limit=1")
    (entry,) = found(own_service, f"request_id={export.headers['X-Request-Id']}")
    assert entry["record"]["action"] == "ExportAuditTrail"


def test_a_token_that_somebody_searches_for_is_not_written_down(
    own_service: ServiceInProcess, told: dict[str, Any]
) -> None:
    token = own_service.tokens["role/ci"]
    asked = own_service.call(AUDITOR, "GET", f"/v1/audit/entries?caller_request_id={token}")
    (entry,) = found(own_service, f"request_id={asked.headers['X-Request-Id']}")
    assert token not in json.dumps(entry)


def test_answers_are_as_the_contract_says(own_service: ServiceInProcess, told: dict[str, Any]) -> None:
    paths = ("entries?limit=1000&kind=any", "entries/0", "report", "report?key=release&per=day", "history?limit=1000")
    for path in paths:
        answer = own_service.made(AUDITOR, "GET", f"/v1/audit/{path}")
        template = re.sub(r"/[0-9]+$", "/{index}", f"/v1/audit/{path.partition('?')[0]}")
        (content,) = document()["paths"][template]["get"]["responses"]["200"]["content"].values()
        schema = content["schema"] | {"components": document()["components"]}
        OAS31Validator(schema).validate(answer)
        OAS31Validator(schema).validate(content["example"])
        shown = set(document()["components"]["schemas"]["AuditRecord"]["properties"])
        for entry in answer.get("entries", ()):
            assert set(entry["record"] or {}) <= shown
            assert set(entry) <= set(document()["components"]["schemas"]["AuditEntry"]["properties"])
