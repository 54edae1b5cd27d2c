"""Verified, rejected, could not be decided, wrong usage: one case of each for each format, through the real command.

This is the table behind "Verifier: one case each, by exit code and JSON, for each format".
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import bundle_builder, cms_builder, jwt_builder, pki, proof_builder, saml_builder
from tests.verifier.proof_builder import LOG, WITNESSES, logged, proof
from tests.verifier.trust_builder import authority_entry, bundle, key_entry
from verifier.keys import load_public_key
from verifier.thumbprint import thumbprint

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"\x7fELF a release\n"

CMS = ("artifact", "tool", "--signature", "tool.p7s", "--trust", "ca.pem")
JWT = ("--jwks", "jwks.json", "--issuer", jwt_builder.ISSUER, "--audience", jwt_builder.AUDIENCE)
SAML = ("--cert", "idp.pem", "--audience", saml_builder.AUDIENCE, "--recipient", saml_builder.RECIPIENT)

PROVEN = ("artifact", "tool", "--proof", "tool.tlog-proof")
NAMED = ("--log-key", LOG.text, "--witness", WITNESSES[0].text, "--witness", WITNESSES[1].text)


@dataclass(frozen=True)
class Case:
    """What is typed, and what must come out. `stdin` names a file of the folder."""

    arguments: tuple[str, ...]
    exit_code: int
    code: str | None = None
    stdin: str | None = None


CASES = {
    # CMS over a file
    "cms verified": Case(("artifact", "tool", "--signature", "tool.p7s", "--trust", "trust.json"), 0),
    "cms verified by ca.pem": Case(("artifact", "tool", "--signature", "tool.p7s", "--trust", "ca.pem"), 0),
    "cms verified by pub.pem": Case(("artifact", "tool", "--signature", "tool.p7s", "--trust", "pub.pem"), 0),
    "cms rejected": Case(
        ("artifact", "tampered", "--signature", "tool.p7s", "--trust", "trust.json"), 1, "digest_mismatch"
    ),
    "cms rejected at a time": Case(
        ("artifact", "tool", "--signature", "tool.p7s", "--trust", "ca.pem", "--at", "2199-01-01T00:00:00Z"),
        1,
        "certificate_expired",
    ),
    "cms not decided": Case(
        ("artifact", "tool", "--signature", "tool.p7s", "--trust", "broken.json"), 2, "invalid_trust"
    ),
    "cms wrong usage": Case(("artifact", "tool", "--signature", "tool.p7s"), 2, "wrong_usage"),
    "cms verified by a demanded list": Case((*CMS, "--crl", "crl.der", "--require-crl"), 0),
    "cms revoked": Case(
        (
            "artifact",
            "tool",
            "--signature",
            "tool.p7s",
            "--trust",
            "ca.pem",
            "--crl",
            "crl.der",
            "--crl",
            "revoked.pem",
        ),
        1,
        "certificate_revoked",
    ),
    "cms list demanded": Case(
        ("artifact", "tool", "--signature", "tool.p7s", "--trust", "trust.json", "--require-crl"),
        2,
        "revocation_unknown",
    ),
    "cms broken list": Case((*CMS, "--crl", "ca.pem"), 2, "invalid_crl"),
    # a bare signature over a file
    "raw verified": Case(("artifact", "tool", "--signature", "tool.sig", "--trust", "pub.pem"), 0),
    "raw rejected": Case(
        ("artifact", "tampered", "--signature", "tool.sig", "--trust", "pub.pem"), 1, "signature_invalid"
    ),
    "raw not decided": Case(("artifact", "tool", "--signature", "tool.sig", "--trust", "ca.pem"), 2, "no_trust"),
    "raw wrong usage": Case(
        ("artifact", "tool", "--signature", "tool.sig", "--trust", "pub.pem", "--algorithm", "MD5"), 2, "wrong_usage"
    ),
    # a Sigstore bundle over a file
    "bundle verified": Case(("artifact", "tool", "--signature", "tool.sigstore.json", "--trust", "pub.pem"), 0),
    "bundle verified by certificate": Case(
        ("artifact", "tool", "--signature", "certified.sigstore.json", "--trust", "ca.pem"), 0
    ),
    "bundle verified with envelope": Case(
        ("artifact", "tool", "--signature", "tool.intoto.sigstore.json", "--trust", "trust.json"), 0
    ),
    "bundle rejected": Case(
        ("artifact", "tampered", "--signature", "tool.sigstore.json", "--trust", "pub.pem"), 1, "digest_mismatch"
    ),
    "bundle not decided": Case(
        ("artifact", "tool", "--signature", "old.sigstore.json", "--trust", "pub.pem"), 2, "unsupported_format"
    ),
    "bundle not decided without key": Case(
        ("artifact", "tool", "--signature", "tool.sigstore.json", "--trust", "ca.pem"), 2, "no_trust"
    ),
    "bundle wrong usage": Case(
        ("artifact", "tool", "--signature", "tool.sigstore.json", "--trust", "pub.pem", "--at", "x"), 2, "wrong_usage"
    ),
    # a DSSE envelope with a statement about a file
    "dsse verified": Case(("artifact", "tool", "--signature", "tool.intoto.jsonl", "--trust", "pub.pem"), 0),
    "dsse rejected": Case(
        ("artifact", "tampered", "--signature", "tool.intoto.jsonl", "--trust", "pub.pem"), 1, "digest_mismatch"
    ),
    "dsse not decided": Case(
        ("artifact", "tool", "--signature", "tool.intoto.jsonl", "--trust", "ca.pem"), 2, "no_trust"
    ),
    "dsse wrong usage": Case(("artifact", "--signature", "tool.intoto.jsonl", "--trust", "ca.pem"), 2, "wrong_usage"),
    # files
    "missing file": Case(
        ("artifact", "missing", "--signature", "tool.sig", "--trust", "pub.pem"), 2, "unreadable_file"
    ),
    "missing signature": Case(
        ("artifact", "tool", "--signature", "missing", "--trust", "pub.pem"), 2, "unreadable_file"
    ),
    "folder for a file": Case(("artifact", ".", "--signature", "tool.sig", "--trust", "pub.pem"), 2, "unreadable_file"),
    # JWT
    "jwt verified": Case(("jwt", "@token", *JWT), 0),
    "jwt verified from stdin": Case(("jwt", "-", *JWT), 0, stdin="token"),
    "jwt rejected": Case(("jwt", "@tampered-token", *JWT), 1, "signature_invalid"),
    "jwt rejected type": Case(("jwt", "@token", *JWT, "--typ", "at+jwt"), 1, "type_mismatch"),
    "jwt rejected from stdin": Case(("jwt", "-", *JWT), 1, "malformed", stdin="tool"),
    "jwt not decided": Case(("jwt", "@unknown-key-token", *JWT), 2, "unknown_key"),
    "jwt broken key set": Case(("jwt", "@token", "--jwks", "broken.json", *JWT[2:]), 2, "invalid_jwks"),
    "jwt of a subject": Case(
        ("jwt", "@token", *JWT, "--sole-audience", "--subject", "other", "--subject", "user-1"), 0
    ),
    "jwt rejected subject": Case(("jwt", "@token", *JWT, "--subject", "other"), 1, "policy_mismatch"),
    "jwt rejected second audience": Case(("jwt", "@token-for-two", *JWT, "--sole-audience"), 1, "audience_mismatch"),
    "jwt for two": Case(("jwt", "@token-for-two", *JWT), 0),
    "jwt empty subject": Case(("jwt", "@token", *JWT, "--subject", ""), 2, "wrong_usage"),
    "jwt verified by trust": Case(("jwt", "@trusted-token", "--trust", "trust.json", *JWT[2:]), 0),
    "jwt of another issuer's trust": Case(
        ("jwt", "@trusted-token", "--trust", "trust.json", "--issuer", "https://other.example", *JWT[4:]), 2, "no_trust"
    ),
    "jwt two kinds of trust": Case(("jwt", "@token", *JWT, "--trust", "trust.json"), 2, "wrong_usage"),
    "jwt no trust": Case(("jwt", "@token", *JWT[2:]), 2, "wrong_usage"),
    "jwt wrong usage": Case(("jwt", "@token", *JWT[:4]), 2, "wrong_usage"),
    "jwt empty issuer": Case(("jwt", "@token", *JWT[:2], "--issuer", "", *JWT[4:]), 2, "wrong_usage"),
    # SAML
    "saml verified": Case(("saml", "response.xml", *SAML), 0),
    "saml verified with all": Case(
        ("saml", "response.xml", *SAML, "--issuer", saml_builder.ISSUER, "--in-response-to", saml_builder.REQUEST), 0
    ),
    "saml rejected": Case(("saml", "tampered.xml", *SAML), 1, "signature_invalid"),
    "saml rejected audience": Case(
        ("saml", "response.xml", *SAML[:2], "--audience", "https://other.example", *SAML[4:]), 1, "audience_mismatch"
    ),
    "saml not decided": Case(("saml", "condition.xml", *SAML), 2, "unknown_condition"),
    "saml no certificate": Case(("saml", "response.xml", "--cert", "pub.pem", *SAML[2:]), 2, "invalid_trust"),
    "saml verified by trust": Case(
        ("saml", "response.xml", "--trust", "trust.json", *SAML[2:], "--issuer", saml_builder.ISSUER), 0
    ),
    "saml trust without an issuer": Case(
        ("saml", "response.xml", "--trust", "trust.json", *SAML[2:]), 2, "wrong_usage"
    ),
    "saml no trust": Case(("saml", "response.xml", *SAML[2:]), 2, "wrong_usage"),
    "saml wrong usage": Case(("saml", "response.xml", *SAML, "--recepient", "x"), 2, "wrong_usage"),
    # with a proof that a log has it; the options beside it are in test_log_command.py
    "raw proven": Case((*PROVEN, "--signature", "tool.sig", "--trust", "log-trust.json"), 0),
    "cms proven by a named log": Case((*PROVEN, "--signature", "tool.p7s", "--trust", "ca.pem", *NAMED), 0),
    "cms proof of another": Case(
        ("artifact", "tool", "--signature", "tool.p7s", "--trust", "ca.pem", "--proof", "token.tlog-proof", *NAMED),
        1,
        "log_entry_mismatch",
    ),
    "jwt proven": Case(("jwt", "@token", *JWT, "--proof", "token.tlog-proof", *NAMED), 0),
    "jwt proof of another": Case(
        ("jwt", "@token-for-two", *JWT, "--proof", "token.tlog-proof", *NAMED), 1, "log_entry_mismatch"
    ),
    "jwt proof and no log": Case(("jwt", "@token", *JWT, "--proof", "token.tlog-proof"), 2, "no_trust"),
    "saml proven": Case(("saml", "response.xml", *SAML, "--proof", "response.tlog-proof", *NAMED), 0),
    "saml proof of another": Case(
        ("saml", "response.xml", *SAML, "--proof", "token.tlog-proof", *NAMED), 1, "log_entry_mismatch"
    ),
    "saml proof and no log": Case(("saml", "response.xml", *SAML, "--proof", "token.tlog-proof"), 2, "no_trust"),
    # the command itself
    "no such command": Case(("artefact", "tool"), 2, "wrong_usage"),
    "wrong time": Case(
        ("artifact", "tool", "--signature", "tool.sig", "--trust", "pub.pem", "--at", "now"), 2, "wrong_usage"
    ),
    "wrong leeway": Case(("jwt", "@token", *JWT, "--leeway", "61"), 2, "wrong_usage"),
}


def proofs(files: dict[str, bytes], signer: pki.PrivateKey, idp: pki.PrivateKey) -> dict[str, bytes]:
    """A proof of each kind of signature, the log's head seen by two of three witnesses."""
    file = proof_builder.leaf(
        signer,
        "ECDSA_SHA_256",
        logged(CONTENT, files["tool.sig"]),
        logged(*proof_builder.cms_parts(files["tool.p7s"])),
    )
    token = logged(*proof_builder.jwt_parts(files["token"].decode().strip()))
    assertion = [logged(*parts) for parts in proof_builder.saml_parts(files["response.xml"])]
    return {
        "tool.tlog-proof": proof(file, count=2),
        "token.tlog-proof": proof(
            proof_builder.leaf(jwt_builder.signing_key("ES256"), "ECDSA_SHA_256", token), count=2
        ),
        "response.tlog-proof": proof(proof_builder.leaf(idp, "RSASSA_PKCS1_V1_5_SHA_256", *assertion), count=2),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the cases name, made once."""
    signer = pki.leaf()
    assert isinstance(signer.private_key, ec.EllipticCurvePrivateKey)
    certificates = (signer.certificate, pki.root().certificate)
    entry = key_entry(signer.private_key, "ECDSA_SHA_256")
    idp = saml_builder.identity()
    signing = saml_builder.Signing(idp)
    response = saml_builder.build(sign="both", signing=signing)
    unknown = saml_builder.Message(conditions=saml_builder.Message().conditions + "<saml:Condition/>")
    token = jwt_builder.token()
    message = bundle_builder.message_signature(signer.private_key, CONTENT)
    statement = bundle_builder.statement(bundle_builder.subject(CONTENT))
    envelope = bundle_builder.envelope(signer.private_key, json.dumps(statement).encode())
    token_key = pki.key("p256", "token")
    entries = [
        entry,
        key_entry(token_key, "ECDSA_SHA_256", purpose="jwt", issuer=jwt_builder.ISSUER, key_version=2),
        key_entry(
            idp.private_key, "RSASSA_PKCS1_V1_5_SHA_256", purpose="saml", issuer=saml_builder.ISSUER, key_version=3
        ),
    ]
    files = {
        "tool": CONTENT,
        "tampered": CONTENT.replace(b"release", b"Release"),
        "tool.p7s": cms_builder.sign(CONTENT, signer, cms_builder.Options(certificates=certificates)),
        "tool.sig": signer.private_key.sign(CONTENT, ec.ECDSA(hashes.SHA256())),
        "old.sigstore.json": b'{"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"}',
        "tool.sigstore.json": json.dumps(bundle_builder.bundle(messageSignature=message)).encode(),
        "certified.sigstore.json": json.dumps(
            bundle_builder.bundle(bundle_builder.certificate_material(signer.certificate), messageSignature=message)
        ).encode(),
        "tool.intoto.sigstore.json": json.dumps(bundle_builder.bundle(dsseEnvelope=envelope)).encode(),
        "tool.intoto.jsonl": json.dumps(envelope).encode() + b"\n",
        "crl.der": pki.crl_der(pki.crl(pki.root())),
        "revoked.pem": pki.crl(pki.root(), signer.certificate).public_bytes(Encoding.PEM),
        "trusted-token": jwt.encode(
            jwt_builder.claims(), token_key, "ES256", {"kid": thumbprint(load_public_key(pki.spki(token_key)))}
        ).encode(),
        "trust.json": bundle(entries, [authority_entry(pki.root().certificate)]),
        "broken.json": b'{"version": 1, "version": 1}',
        "ca.pem": pki.pem(pki.root().certificate),
        "pub.pem": pki.public_pem(signer.private_key),
        "jwks.json": jwt_builder.jwks(),
        "token": f"{token}\n".encode(),
        "tampered-token": jwt_builder.token(payload=jwt_builder.claims(sub="x")).rsplit(".", 1)[0].encode()
        + f".{token.rsplit('.', 1)[1]}".encode(),
        "token-for-two": jwt_builder.token(payload=jwt_builder.claims(aud=["x", jwt_builder.AUDIENCE])).encode(),
        "unknown-key-token": jwt_builder.token(kid="yesterday").encode(),
        "idp.pem": pki.pem(idp.certificate, pki.root().certificate),
        "response.xml": response,
        "tampered.xml": response.replace(b"u@example", b"root@example"),
        "condition.xml": saml_builder.build(unknown, signing=signing),
    }
    files |= proofs(files, signer.private_key, idp.private_key)
    listed = [entry], [authority_entry(pki.root().certificate)]
    files["log-trust.json"] = bundle(*listed, logs=[proof_builder.log_entry(2)])
    path = tmp_path_factory.mktemp("outcomes")
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def run(folder: Path, case: Case, *more: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own; `@name` is the content of that file."""
    arguments = [(folder / each[1:]).read_text().strip() if each.startswith("@") else each for each in case.arguments]
    return subprocess.run(
        [sys.executable, "-m", "verifier", *arguments, *more],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/nowhere", "PYTHONWARNINGS": "error"},
        input=(folder / case.stdin).read_text() if case.stdin else "",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_exit_code_and_json(folder: Path, case: Case) -> None:
    done = run(folder, case, "--json")
    assert (done.returncode, done.stderr) == (case.exit_code, "")
    answer = json.loads(done.stdout)
    assert answer["verified"] is (case.exit_code == 0)
    if case.exit_code == 0:
        assert answer.keys() == {
            *("verified", "kind", "who", "what", "when", "key", "certificates", "not_covered", "log_position")
        }
        return
    assert answer.keys() == {"verified", "outcome", "code", "message"}
    assert (answer["outcome"], answer["code"]) == ("rejected" if case.exit_code == 1 else "indeterminate", case.code)


@pytest.mark.parametrize(
    "name",
    [f"{kind} {what}" for kind in ("cms", "raw", "bundle", "dsse", "jwt", "saml") for what in ("verified", "rejected")],
)
def test_text_for_people(folder: Path, name: str) -> None:
    case = CASES[name]
    done = run(folder, case)
    assert done.returncode == case.exit_code
    if case.exit_code == 0:
        assert done.stdout.startswith("VERIFIED\n")
        assert {"who:", "what:", "key:", "judged:"} <= {
            line.split()[0] for line in done.stdout.splitlines()[1:] if line.split()[0].endswith(":")
        }
    else:
        assert (done.stdout, done.stderr[:10]) == ("", "REJECTED: ")
        assert f"({case.code})" in done.stderr


@pytest.mark.parametrize("name", ["raw proven", "cms proven by a named log", "jwt proven", "saml proven"])
def test_a_proof_for_people_and_for_programs(folder: Path, name: str) -> None:
    text = run(folder, CASES[name]).stdout
    assert f"  log:          entry 5 of 7 in {LOG.name}, made at " in text
    assert f"  cosigned:     by {WITNESSES[1].name} at " in text
    assert "  proven:       it existed by " in text
    answer = json.loads(run(folder, CASES[name], "--json").stdout)
    position = answer["log_position"]
    assert position.keys() == {
        *("origin", "index", "size", "root", "logged_at", "record_sha256", "key_version"),
        *("cosignatures", "cosigned", "proven_at"),
    }
    assert (position["origin"], position["index"], position["size"]) == (LOG.name, 5, 7)
    assert [each["witness"] for each in position["cosigned"]] == [witness.name for witness in WITNESSES[:2]]
    # The keys of a key set have no window: nothing of a token is judged by the log then.
    expected = ("now", answer["when"]["as_of"]) if name.startswith("jwt") else ("log", position["proven_at"])
    assert (answer["when"]["basis"], answer["when"]["judged_at"]) == expected


@pytest.mark.parametrize("arguments", [(), ("--nonsense",), ("jwt",), ("saml", "--json", "x")])
def test_usage_is_told_without_a_traceback(folder: Path, arguments: tuple[str, ...]) -> None:
    done = run(folder, Case(arguments, 2))
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_version_and_help(folder: Path) -> None:
    assert run(folder, Case(("--version",), 0)).stdout == "sealmark-verify 0.1.0\n"
    assert "artifact" in run(folder, Case(("--help",), 0)).stdout


def test_answer_that_nobody_can_read_is_no_verification(folder: Path) -> None:
    case = CASES["cms verified"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "verifier", *case.arguments],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, b"")


def test_control_characters_do_not_reach_the_terminal(folder: Path) -> None:
    token = jwt_builder.token(payload=jwt_builder.claims(sub="\x1b[2Jroot\u202e"))
    done = run(folder, Case(("jwt", token, *JWT), 0))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "\\x1b[2Jroot" in done.stdout
