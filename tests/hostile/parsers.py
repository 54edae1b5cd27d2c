"""Every parser of the service as a target for what is malformed: a table, each with valid inputs to begin with.

`one` gives the parser octets. What the parser promises to raise is in `refusals`; anything else, and anything that
takes long, is a finding. `make fuzz` runs atheris over these as over the verifier's own (tests/fuzz), test_parsers.py a
short form without it. The parsers are pure, but those of files get one in a folder of their own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keystore import backup_files, ciphertexts, import_tokens, importable, shared_domains, shares
from keystore.algorithms import KEY_SPECS, Purpose
from keystore.errors import KeystoreError
from keystore.opened.agreement import peer_point
from keystore.token_uri import parse_token_uri
from signer import strict_json
from signer.access.documents import parse_identity_policy, parse_key_policy
from signer.access.policy_json import decode_policy
from signer.access.policy_refusal import PolicyRefused
from signer.authn import assertions, bearer, certificate, forwarded, key_sets, signed_request, sigv4
from signer.authn.refused import Refused
from signer.authn.request_keys import load_public_key
from signer.authn.token_keys import parse_key_set
from signer.call import Call
from signer.certificates.installation import checked_chain
from signer.certificates.request import parse_subject
from signer.cli.audit_filters import Digest, When
from signer.cli.documents import read_document
from signer.cli.errors import CommandFailed
from signer.cli.found_signatures import found_signatures
from signer.cli.sums import read_sums
from signer.decoding import decode
from signer.errors import SealmarkError
from signer.kms.decoding import decode as decode_kms
from signer.kms.operations import OPERATIONS
from signer.lane.heads import END, HeadReader
from signer.lane.roads import Roads
from signer.reception import Incoming, Stage
from signer.web.contract import CONTRACTS
from signer.web.routes import ENDPOINTS
from signer.witness.errors import Refusal as WitnessRefusal
from signer.witness.protocol import parse_request
from tests.verifier import pki

ACCOUNT: Final = "000000000000"
NOW: Final = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOST: Final = "sign.example"
P256: Final = ec.derive_private_key(0x51EA1, ec.SECP256R1())
PEER: Final = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEER_PEM: Final = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
KEY_ID: Final = "0b5a6ee5-6ddd-4f0b-8f7a-0d0c9a2f2a3e"
DEEP: Final = b"[" * 20_000
LONG_NUMBER: Final = b'{"a":' + b"9" * 5000 + b"}"
JSON_TROUBLE: Final = (DEEP, b'{"a":' * 5000, LONG_NUMBER, b'{"a":"\\ud800"}', b'{"a":1,"a":2}', b"\xef\xbb\xbf{}")


@dataclass(frozen=True)
class Parser:
    """One target. `seeds` are made when they are first asked for."""

    name: str
    seeds: Callable[[], list[bytes]]
    one: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]

    def run(self, data: bytes) -> None:
        """Raises only what the parser does not promise."""
        with contextlib.suppress(*self.refusals):
            self.one(data)


def _text(data: bytes) -> str:
    """What a header or a word of a command line can hold."""
    return data.decode("latin-1")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _call(headers: dict[str, str], body: bytes = b"{}", target: str = "/v1/whoami") -> Call:
    return Call(
        request_id="0" * 32,
        caller_request_id=None,
        source="192.0.2.1",
        authorization=headers.get("authorization"),
        idempotency_key=None,
        body=body,
        method="POST",
        target=target,
        secure=True,
        headers=headers,
    )


def _headers(data: bytes) -> dict[str, str]:
    """Lines `name: value`; what HTTP lets no header hold is not given to the parsers either."""
    found = {}
    for line in data.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and value.isascii() and not any(octet < 32 or octet == 127 for octet in value):
            found[_text(name).strip().lower()] = value.decode("ascii").strip()
    return found


# --- HTTP -------------------------------------------------------------------------------------------------------------

_HEAD: Final = (
    b"POST /v1/keys/release/signatures HTTP/1.1\r\nHost: 127.0.0.1:8200\r\nAuthorization: Bearer smk_abc\r\n"
    b"Accept: */*\r\nX-Request-Id: build-7\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
)
_WIRE_HEAD: Final = (
    b"POST / HTTP/1.1\r\nhost: sign.example\r\nx-amz-target: TrentService.Sign\r\nx-amz-date: 20261126T120000Z\r\n"
    b"authorization: AWS4-HMAC-SHA256 Credential=AKIAAAAAAAAAAAAAAAAA/20261126/us-east-1/kms/aws4_request\r\n"
    b"content-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: 12\r\n\r\n"
)
_ANYTHING: Final[Any] = object()


def _plain_heads() -> HeadReader:
    return HeadReader(Roads(_ANYTHING, {"signatures": _ANYTHING}))


class Disagreement(Exception):
    """Two readers of one request read it differently: one of them could be made to see another call."""


def read_head(data: bytes) -> None:
    """What the lane takes as plain, gunicorn and llhttp read in the same way, to the same octet."""
    octets = data.partition(END)[0] + END
    head = _plain_heads().read(octets)
    if head is None:
        return
    body = b"x" * head.length
    theirs = _by_gunicorn(octets + body + b"GET /beyond HTTP/1.1\r\n\r\n")
    if theirs is None:
        raise Disagreement("gunicorn refuses what the lane takes as plain")
    fields, path, read, keeps = theirs
    ours = (head.path, body, head.authorization, head.caller_request_id, head.keeps_alive)
    seen = (path, read, fields.get("AUTHORIZATION"), fields.get("X-REQUEST-ID"), keeps)
    if ours != seen:
        raise Disagreement(f"the lane reads {ours!r}, gunicorn {seen!r}")
    incoming = Incoming()
    if incoming.feed(octets + body) is not Stage.WHOLE or incoming.body_octets != head.length:
        raise Disagreement("what is plain is no whole request where requests are taken in")


def _by_gunicorn(octets: bytes) -> tuple[dict[str, str], str, bytes, bool] | None:
    from gunicorn.http.errors import ParseException

    try:
        request = next(_gunicorn_parser(octets))
        body = request.body.read()
    except (ParseException, StopIteration):
        return None
    uri = request.uri
    return dict(request.headers), uri, body, not request.should_close()


def _gunicorn_parser(octets: bytes) -> Any:
    from gunicorn.http.parser import RequestParser

    return RequestParser(_gunicorn_settings(), iter([octets]), ("127.0.0.1", 1))


@cache
def _gunicorn_settings() -> Any:
    from gunicorn.config import Config

    return Config()


def take_in(data: bytes) -> None:
    """However the octets are cut, the request ends at the same octet."""
    whole, cut = Incoming(), Incoming()
    stage = whole.feed(data)
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        if part and cut.stage not in (Stage.WHOLE, Stage.BROKEN, Stage.HEAD_TOO_LARGE):
            cut.feed(part)
    ended = (Stage.WHOLE, Stage.BROKEN, Stage.HEAD_TOO_LARGE)
    if stage is Stage.WHOLE and cut.stage in ended and cut.stage is not Stage.WHOLE:
        raise Disagreement(f"whole at once is {stage}, in two parts {cut.stage}")
    if stage is Stage.WHOLE and cut.stage is Stage.WHOLE and (whole.method, whole.target) != (cut.method, cut.target):
        raise Disagreement("whole at once is another request than in two parts")


# --- bodies -----------------------------------------------------------------------------------------------------------


@cache
def _bodies() -> tuple[tuple[type[msgspec.Struct], bytes], ...]:
    found = []
    for endpoint in ENDPOINTS:
        if endpoint.body is not None:
            contract = CONTRACTS.get(f"{endpoint.method} {endpoint.path}")
            found.append((endpoint.body, _json(contract.request if contract and contract.request else {})))
    return tuple(found)


def body(data: bytes) -> None:
    """The first octet chooses the call."""
    if data:
        decode(data[1:], _bodies()[data[0] % len(_bodies())][0])


@cache
def _operations() -> tuple[Any, ...]:
    return tuple(OPERATIONS[name] for name in sorted(OPERATIONS))


def kms_body(data: bytes) -> None:
    """The first octet chooses the operation."""
    if data:
        decode_kms(data[1:], _operations()[data[0] % len(_operations())].request)


def _kms_seeds() -> list[bytes]:
    import random

    from tests.hostile.wire import Maker

    maker = Maker(random.Random(7), ["app"])  # noqa: S311 (repeatable on purpose)
    made = [bytes([at]) + maker.body(operation.request) for at, operation in enumerate(_operations())]
    return made + [b"\0" + each for each in JSON_TROUBLE]


def policy(data: bytes) -> None:
    """A key policy, and a policy of an identity."""
    decoded = decode_policy(data)
    with contextlib.suppress(PolicyRefused):
        parse_identity_policy(decoded)
    parse_key_policy(decoded, account=ACCOUNT)


def _policies() -> list[bytes]:
    statement = {
        "Sid": "Use",
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{ACCOUNT}:user/a", "*"]},
        "Action": ["kms:Sign", "kms:Get*"],
        "Resource": "*",
        "Condition": {
            "StringLike": {"kms:EncryptionContext:a": ["x*", "y"]},
            "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
            "DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"},
            "NumericLessThanEquals": {"kms:GrantConstraintType": "1"},
            "Bool": {"aws:SecureTransport": "true"},
        },
    }
    identity = {name: value for name, value in statement.items() if name != "Principal"}
    documents: list[object] = [
        {"Version": "2012-10-17", "Id": "a", "Statement": [statement]},
        {"Version": "2012-10-17", "Statement": identity},
        {"Statement": [{"Effect": "Deny", "NotPrincipal": "*", "NotAction": "*", "NotResource": ["*"]}]},
    ]
    return [*map(_json, documents), *JSON_TROUBLE, b"[" * 990 + b"]" * 990]


# --- who calls --------------------------------------------------------------------------------------------------------


class Nobody:
    """There is nobody, and nothing is remembered."""

    region = "us-east-1"
    is_opened = True

    def find_public_credential(self, _id: str) -> None:
        return None

    def matching_public_credentials(self, _match: object, _value: str) -> tuple[()]:
        return ()

    def find_principal(self, _name: str) -> None:
        return None

    def find_credential(self, _id: str) -> None:
        return None

    def trusted_issuer_revision(self, _name: str) -> None:
        return None

    def find_trusted_issuer_of(self, _url: str) -> None:
        return None

    def use_nonce(self, _id: str, _until: datetime) -> None:
        return None


NOBODY: Final[Any] = Nobody()


def signed_by_sigv4(data: bytes) -> None:
    """In the header, and in the query."""
    headers = {"host": HOST, **_headers(data)}
    from signer.authn import sigv4_request

    first = _text(data.partition(b"\n")[0])
    for call in (_call(headers), _call({"host": HOST}, target=f"/v1/whoami?{first}")):
        with contextlib.suppress(Refused):
            read = sigv4_request.read(call)
            sigv4_request.require_scope(read, "us-east-1", "kms")
            sigv4._require_coverage(call, read)
            sigv4._require_fresh(call, read, NOW)
            sigv4._forms(call, read)


def _sigv4_seeds() -> list[bytes]:
    credential = "AKIAAAAAAAAAAAAAAAAA/20261126/us-east-1/kms/aws4_request"
    signature = "0" * 64
    header = (
        f"authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=content-type;host;x-amz-date,"
        f" Signature={signature}\n"
    )
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential.replace('/', '%2F')}"
        f"&X-Amz-Date=20261126T120000Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
    )
    return [
        f"{header}x-amz-date: 20261126T120000Z\ncontent-type: application/json\n".encode(),
        f"{header}date: Thu, 26 Nov 2026 12:00:00 GMT\n".encode(),
        f"{header}date: Thu, 26 Nov 0001 00:00:00 +2359\n".encode(),
        f"{header}date: Thu, 99999999999999999999 Nov 2026 12:00:00 -0000\n".encode(),
        query.encode(),
    ]


def signed_request_of(data: bytes) -> None:
    """RFC 9421."""
    signed_request.authenticate(_call({"host": HOST, **_headers(data)}), NOBODY, NOW)


def _signed_request_seeds() -> list[bytes]:
    digest = base64.b64encode(hashlib.sha256(b"{}").digest()).decode()
    covered = '("@method" "@authority" "@target-uri" "content-type" "content-digest")'
    parameters = f'created={int(NOW.timestamp())};keyid="abc";nonce="0123456789abcdef";tag="sealmark"'
    value = base64.b64encode(bytes(64)).decode()
    fields = (
        f"signature-input: sig={covered};{parameters}\nsignature: sig=:{value}:\n"
        f"content-type: application/json\ncontent-digest: sha-256=:{digest}:\n"
    )
    return [fields.encode(), fields.replace(";tag", ";alg=ed25519;expires=99999999999999999;tag").encode()]


def token(data: bytes) -> None:
    """A bearer token, and a JSON Web Token of somebody trusted."""
    with contextlib.suppress(Refused, SealmarkError):
        bearer.authenticate(f"Bearer {_text(data)}", NOBODY, NOW)
    sets = key_sets.KeySets(lambda: NOW)
    assertions.verify(_text(data), NOBODY, sets, NOW)


def _token_seeds() -> list[bytes]:
    header = {"alg": "ES256", "kid": "1", "typ": "JWT"}
    claims = {"iss": "https://i.example", "sub": "x", "aud": "sealmark", "exp": 1_900_000_000, "iat": 1_700_000_000}
    segments = [base64.urlsafe_b64encode(_json(each)).rstrip(b"=") for each in (header, claims)]
    deep = base64.urlsafe_b64encode(DEEP[:6000]).rstrip(b"=")
    return [b".".join([*segments, b"AAAA"]), b".".join([deep, *segments[1:], b"AAAA"]), b"smk_" + b"a" * 43]


def _jwks_seeds() -> list[bytes]:
    point = P256.public_key().public_numbers()
    coordinates = {
        name: base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()
        for name, value in (("x", point.x), ("y", point.y))
    }
    elliptic = {"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", **coordinates}
    rsa = {"kty": "RSA", "kid": "2", "n": base64.urlsafe_b64encode(b"\xff" * 256).decode().rstrip("="), "e": "AQAB"}
    edwards = {"kty": "OKP", "crv": "Ed25519", "kid": "3", "x": coordinates["x"], "key_ops": ["verify"]}
    return [_json({"keys": [elliptic, rsa, edwards]}), *JSON_TROUBLE]


# --- ASN.1 ------------------------------------------------------------------------------------------------------------


@cache
def _certificates() -> tuple[bytes, ...]:
    """A leaf and its root; the leaf as version 2, which nobody makes; with an extension twice."""
    leaf = pki.leaf().certificate.public_bytes(Encoding.DER)
    second = leaf.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    return leaf, pki.root().certificate.public_bytes(Encoding.DER), second


def client_certificate(data: bytes) -> None:
    """Of a caller, by TLS."""
    certificate.authenticate(data, NOBODY, NOW)


def certificate_header(data: bytes) -> None:
    """Of a caller, by a proxy's header."""
    found = forwarded.forwarded_certificate(_text(data))
    if found is not None:
        certificate.authenticate(found, NOBODY, NOW)


def _certificate_headers() -> list[bytes]:
    leaf = _certificates()[0]
    pem = _pem(leaf).replace(b" ", b"%20").replace(b"\n", b"%0A").replace(b"+", b"%2B").replace(b"/", b"%2F")
    return [b":" + base64.b64encode(leaf) + b":", pem.replace(b"=", b"%3D"), b":AA==:;a=1"]


def chain(data: bytes) -> None:
    """A chain to be installed: DER, which is made PEM here so that the mutations reach what is in it; or PEM."""
    text = _text(data) if data.startswith(b"-----") else (_pem(data) + _pem(_certificates()[1])).decode("ascii")
    checked_chain(text, None, public_key=_leaf_key(), purpose=Purpose.ARTIFACT, now=NOW)


@cache
def _leaf_key() -> bytes:
    key = pki.leaf().certificate.public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(der: bytes) -> bytes:
    lines = base64.encodebytes(der).replace(b"\n", b"")
    wrapped = b"\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + wrapped + b"\n-----END CERTIFICATE-----\n"


def _chains() -> list[bytes]:
    return [*_certificates(), b"".join(_pem(each) for each in _certificates()[:2])]


def public_keys(data: bytes) -> None:
    """The other side's key for an agreement, and a caller's key that signs requests."""
    with contextlib.suppress(ValueError):
        load_public_key(data)
    peer_point("ECC_NIST_P256", data)


def _private_keys() -> list[bytes]:
    keys = (P256, ed25519.Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
    made = [key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) for key in keys]
    return [*made, bytes(32), bytes(48)]


def material(data: bytes) -> None:
    """Material as it comes out of its wrapping, for a key of each kind."""
    for spec in ("ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "RSA_2048", "SYMMETRIC_DEFAULT"):
        with contextlib.suppress(KeystoreError):
            importable.parse_material(KEY_SPECS[spec], data).wipe()
    row = importable.check_wrapping("ECC_NIST_P256", "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048")
    importable.unwrapped(row, data[:32], data[32:])


def _seal(said: bytes) -> bytes:
    return hashlib.sha256(said).digest()


def import_token(data: bytes) -> None:
    """A token; the tag of a changed one is not right, so it is also made right."""
    with contextlib.suppress(KeystoreError):
        import_tokens.read_token(data, KEY_ID, NOW, _seal, "seal")


def _import_tokens() -> list[bytes]:
    row = importable.check_wrapping("SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256", "RSA_2048")
    made = import_tokens.ImportToken(KEY_ID, KEY_ID, row, NOW + timedelta(hours=1))
    return [made.encoded(_seal, "seal")]


# --- texts and files --------------------------------------------------------------------------------------------------


def on_file(
    name: str, read: Callable[[Path], object], folder: Callable[[], Path] | None = None
) -> Callable[[bytes], None]:
    """A parser of octets out of one of a file."""

    def one(data: bytes) -> None:
        place = _folder() if folder is None else folder()
        (place / name).write_bytes(data)
        read(place / name)

    return one


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="parsers-")


def _folder() -> Path:
    return Path(_temporary().name)


def _manifests() -> list[bytes]:
    end = backup_files.LogEnd("sign.example/log", 7, "AAAA")
    files = (backup_files.BackedUpFile(backup_files.CONFIGURATION, "0" * 64, 10, 0),)
    left = (backup_files.LeftOut("key", KEY_ID, "on the token", "app", "RSA_2048"),)
    made = backup_files.Manifest(
        account=ACCOUNT,
        region="us-east-1",
        made_at="2026-11-26T12:00:00Z",
        schema="initial_0001",
        seal_key_id="seal",
        log=end,
        carried=3,
        files=files,
        left_out=left,
        seal=bytes(32),
    )
    odd = made.encoded().replace(b'"us-east-1"', b'"\\ud800"')
    return [made.encoded(), odd, *JSON_TROUBLE]


def _carried_domains() -> list[bytes]:
    carried = shared_domains.CarriedDomain(ACCOUNT, "us-east-1", "shared", 1, b"w" * 40, b"l" * 40, b"")
    return [f"{shared_domains._written(carried, bytes(32))}\n".encode(), *JSON_TROUBLE]


def filters(data: bytes) -> None:
    """Words of the command line."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(click.BadParameter):
        Digest().convert(text, None, None)
    When().convert(text, None, None)


def share(data: bytes) -> None:
    """What custodians type."""
    shares.combine(data.decode("utf-8", "replace").split("\n"))


@cache
def _shares() -> list[bytes]:
    return ["\n".join(shares.split(bytearray(b"\x05" * 32), custodians=3, threshold=2)).encode()]


def _found_seeds() -> list[bytes]:
    proof = b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(_json({"signatures": [{"sha256": "00"}]}))
    deep = b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(DEEP)
    xml = b'<a xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Signature><ds:SignatureValue>AA==</ds:SignatureValue></ds:Signature></a>'
    return [proof + b"\n\n", deep + b"\n\n", xml, _token_seeds()[0], base64.b64encode(xml), *JSON_TROUBLE]


def ciphertext(data: bytes) -> None:
    """A ciphertext's header, and an encryption context made of the octets."""
    ciphertexts.encode_context({_text(data[:8]): _text(data[8:])})
    ciphertexts.describe(data)


PARSERS: Final = {
    parser.name: parser
    for parser in (
        Parser("heads", lambda: [_HEAD, _WIRE_HEAD], read_head, ()),
        Parser(
            "reception",
            lambda: [
                _HEAD + b"x" * 12,
                _HEAD.replace(b"Content-Length: 12", b"Transfer-Encoding: chunked")
                + b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            ],
            take_in,
            (),
        ),
        Parser(
            "bodies",
            lambda: [bytes([at]) + seed for at, (_, seed) in enumerate(_bodies())] + [b"\1" + s for s in JSON_TROUBLE],
            body,
            (SealmarkError,),
        ),
        Parser("aws-bodies", _kms_seeds, kms_body, (SealmarkError,)),
        Parser("policies", _policies, policy, (PolicyRefused,)),
        Parser("sigv4", _sigv4_seeds, signed_by_sigv4, ()),
        Parser("signed-requests", _signed_request_seeds, signed_request_of, (Refused,)),
        Parser("tokens", _token_seeds, token, (assertions.Refused,)),
        Parser("key-sets", _jwks_seeds, parse_key_set, (ValueError,)),
        Parser(
            "json", lambda: [b'{"a":[1,2.5,null,"\\u00e9"]}', *JSON_TROUBLE], strict_json.parse_object, (ValueError,)
        ),
        Parser("client-certificates", lambda: [*_certificates()], client_certificate, (Refused,)),
        Parser("certificate-headers", _certificate_headers, certificate_header, (Refused,)),
        Parser("chains", _chains, chain, (SealmarkError,)),
        Parser(
            "subjects",
            lambda: [b"CN=release,O=Example,C=DE", b"CN=a\\2Cb+OU=#0403", b"1.2.3=x"],
            lambda data: parse_subject(_text(data)),
            (SealmarkError,),
        ),
        Parser("public-keys", lambda: [PEER, PEER_PEM], public_keys, (KeystoreError,)),
        Parser("material", _private_keys, material, (KeystoreError,)),
        Parser("import-tokens", _import_tokens, import_token, ()),
        Parser(
            "ciphertexts",
            lambda: [ciphertexts.header(KEY_ID, KEY_ID) + bytes(40), bytes([2, 1]) + bytes(70)],
            ciphertext,
            (KeystoreError,),
        ),
        Parser(
            "token-uris",
            lambda: [b"pkcs11:token=a%20b;serial=1?module-path=/m.so&pin-source=file:p"],
            lambda data: parse_token_uri(_text(data)),
            (KeystoreError,),
        ),
        Parser(
            "witness-requests",
            lambda: [
                b"old 1\n"
                + base64.b64encode(bytes(32))
                + b"\n\nsign.example/log\n2\n"
                + base64.b64encode(bytes(32))
                + b"\n\n\xe2\x80\x94 sign.example/log AAAAAAAA\n"
            ],
            parse_request,
            (WitnessRefusal,),
        ),
        Parser(
            "manifests",
            _manifests,
            on_file(backup_files.MANIFEST, lambda path: backup_files.BackupFolder(path.parent)),
            (KeystoreError,),
        ),
        Parser("carried-domains", _carried_domains, on_file("domain", shared_domains._read), (KeystoreError,)),
        Parser("shares", _shares, share, (KeystoreError,)),
        Parser(
            "filters",
            lambda: [
                b"7d",
                b"2026-11-25T18:00:00Z",
                b"2026-11-25",
                b"a" * 64,
                b"99999999999w",
                b"2026-W01-1",
                b"0001-01-01T00:00:00+23:59",
            ],
            filters,
            (click.BadParameter,),
        ),
        Parser(
            "sums",
            lambda: [b"0" * 64 + b"  sums\n" + b"1" * 64 + b" *domain\n"],
            on_file("sums", read_sums),
            (CommandFailed,),
        ),
        Parser("documents", lambda: [*_policies()], on_file("document", read_document), (CommandFailed,)),
        Parser("found-signatures", _found_seeds, found_signatures, ()),
    )
}
