"""Asks the outside witnesses that stand in the configuration for cosignatures (C2SP tlog-witness, add-checkpoint).

All are asked at once, each within one time limit whatever it does, and one that failed is left alone for a moment: so
a witness that hangs never holds anybody up for long. Where a witness stands is its own to say: it answers 409 with the
size that it has seen, and is asked again from there.

A witness that has seen more than our database has, or another history, says that the database is not the one that it
was: `Contradiction`.
"""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
import structlog

from signer.audit.cosignatures import BadCosignature, own_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keystore.clock import Clock
    from signer.audit.cosignatures import WitnessKey

    Consistency = Callable[[int, int], Sequence[bytes]]
    Post = Callable[[bytes], "Reply"]

TIME_LIMIT: Final = 1.5  # seconds, for a witness's whole answer with all its conflicts
REST: Final = 1.0  # seconds within which a witness that failed is not asked again
LARGEST_ANSWER: Final = 16 * 1024
SIZE_TYPE: Final = "text/x.tlog.size"
_ATTEMPTS: Final = 3  # a witness that others ask too may have gone on between two of them
_log = structlog.get_logger("sealmark.witnesses")


class NotCosigned(Exception):
    """No cosignature from this witness now; the message says why, for the log."""


class Beyond(NotCosigned):
    """The witness has cosigned a larger log than the checkpoint's."""

    def __init__(self, size: int) -> None:
        super().__init__(f"it has cosigned {size} leaves")
        self.size = size


class Contradiction(Exception):
    """The witness has seen a history that ours does not continue."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A witness's answer."""

    status: int
    kind: str  # Content-Type
    body: bytes


def request_body(old_size: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
    """What add-checkpoint takes."""
    lines = "".join(f"{b64encode(one).decode()}\n" for one in proof)
    return f"old {old_size}\n{lines}\n{checkpoint}".encode()


def ask(post: Post, known: int, checkpoint: str, size: int, consistency: Consistency) -> str:
    """A witness's cosignature lines for a checkpoint, unverified: the protocol alone.

    `known` is the size that the witness is thought to have seen (0: nothing is known of it). Raises `Beyond`,
    `NotCosigned`, and `Contradiction` where it has seen another history.
    """
    old = known
    for _ in range(_ATTEMPTS):
        if old > size:
            raise Beyond(old)
        proof = consistency(old, size) if 0 < old < size else ()
        reply = post(request_body(old, proof, checkpoint))
        if reply.status == HTTPStatus.OK:
            return _text(reply)
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise Contradiction(f"it does not find its {old} leaves in our {size}")
        if reply.status != HTTPStatus.CONFLICT:
            raise NotCosigned(f"it answered {reply.status}: {_shown(reply)}")
        told = _told_size(reply)
        if old == size and told in (None, old):
            raise Contradiction(f"it has another root for {size} leaves")
        if told is None or told == old:
            raise NotCosigned(f"it answered 409 without another size than {old}: {_shown(reply)}")
        old = told
    raise NotCosigned(f"it went on {_ATTEMPTS} times while it was asked")


def _told_size(reply: Reply) -> int | None:
    if reply.kind != SIZE_TYPE:
        return None
    digits = _text(reply).removesuffix("\n")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(2**63)):
        raise NotCosigned(f"its size is no number: {_shown(reply)}")
    return int(digits)


def _text(reply: Reply) -> str:
    try:
        return reply.body.decode()
    except UnicodeDecodeError:
        raise NotCosigned("its answer is not UTF-8") from None


def _shown(reply: Reply) -> str:
    """The beginning of a stranger's words, fit for a log."""
    text = reply.body[:200].decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in text).strip()


@dataclass(eq=False)
class Witness:
    """One outside witness. `url` is its submission prefix."""

    url: str
    key: WitnessKey
    _seen: int = 0  # of the log that this process speaks for
    _rests_until: float = 0.0
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _client: httpx.Client | None = None

    def cosign(self, checkpoint: str, size: int, consistency: Consistency, now: int) -> str:
        """The witness's valid cosignature line for a signed checkpoint. `now`: seconds since 1970.

        Raises `Beyond`, `NotCosigned`, `Contradiction`.
        """
        if time.monotonic() < self._rests_until:
            raise NotCosigned("it has failed just now")
        if not self._turn.acquire(timeout=TIME_LIMIT):
            self._rests_until = time.monotonic() + REST
            raise NotCosigned(f"it still owes an answer after {TIME_LIMIT} s")
        try:
            return self._cosign(checkpoint, size, consistency, now)
        except Beyond as beyond:
            self._seen = 0 if beyond.size == self._seen else beyond.size
            raise
        except NotCosigned:
            self._rests_until = time.monotonic() + REST
            raise
        finally:
            self._turn.release()

    def _cosign(self, checkpoint: str, size: int, consistency: Consistency, now: int) -> str:
        deadline = time.monotonic() + TIME_LIMIT
        answer = ask(lambda body: self._post(body, deadline), self._seen, checkpoint, size, consistency)
        text = checkpoint[: checkpoint.index("\n\n") + 1].encode()
        try:
            line = own_line(answer, self.key, text, now)
        except BadCosignature as reason:
            raise NotCosigned(str(reason)) from None
        self._seen = size
        return line

    def _post(self, body: bytes, deadline: float) -> Reply:
        """One request. The time limit holds for all of it, however slowly the octets come."""
        found = bytearray()
        headers = {"User-Agent": "sealmark", "Accept-Encoding": "identity", "Content-Type": "text/plain"}
        try:
            with self._opened().stream("POST", f"{self.url}/add-checkpoint", content=body, headers=headers) as answer:
                for chunk in answer.iter_raw():
                    found += chunk
                    if len(found) > LARGEST_ANSWER:
                        raise NotCosigned(f"it answered more than {LARGEST_ANSWER} octets")
                    if time.monotonic() > deadline:
                        raise NotCosigned(f"no whole answer within {TIME_LIMIT} s")
                return Reply(answer.status_code, answer.headers.get("Content-Type", ""), bytes(found))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotCosigned(f"it cannot be reached: {type(error).__name__}") from error

    def _opened(self) -> httpx.Client:
        """The connection, which is kept; made in the process that uses it, after any fork."""
        if self._client is None:
            # The environment's proxies and CAs count for what is elsewhere, not for this machine.
            elsewhere = urlsplit(self.url).scheme == "https"
            self._client = httpx.Client(timeout=TIME_LIMIT, follow_redirects=False, trust_env=elsewhere)
        return self._client

    def close(self) -> None:
        """Ends the connection."""
        if self._client is not None:
            self._client.close()


class Witnesses:
    """All outside witnesses of a log. Safe to use from many threads."""

    def __init__(
        self, witnesses: Sequence[Witness], consistency: Consistency, size: Callable[[], int], clock: Clock
    ) -> None:
        """`consistency(old, new)` gives RFC 6962 proofs between sizes of our log; `size` how many leaves it has now in
        the database, whoever wrote them."""
        self._witnesses = witnesses
        self._consistency = consistency
        self._size = size
        self._clock = clock
        self._contradictions: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._witnesses)

    @property
    def contradiction(self) -> str | None:
        """What speaks against our database: a witness's name and what it has seen. None once it agrees again."""
        return next((f"{name}: {reason}" for name, reason in sorted(self._contradictions.items())), None)

    def cosign(self, checkpoint: str, size: int, enough: int | None = None) -> list[str]:
        """The valid cosignature lines for our signed checkpoint over `size` leaves, which are to be had now.

        Waits for `enough` of them (None: for all), or for the time limit. A witness that contradicts is reported and
        remembered in `contradiction`.
        """
        wanted = len(self._witnesses) if enough is None else enough
        lines: list[str] = []
        left = len(self._witnesses)
        changed = threading.Condition()
        now = int(self._clock().timestamp())

        def run(witness: Witness) -> None:
            nonlocal left
            line = None
            try:
                line = self._one(witness, checkpoint, size, now)
            finally:
                with changed:
                    left -= 1
                    if line is not None:
                        lines.append(line)
                    changed.notify_all()

        for witness in self._witnesses:
            # A thread of its own: a peer that sends an octet now and then passes every timeout of a read.
            threading.Thread(target=run, args=(witness,), name="ask-witness", daemon=True).start()
        with changed:
            changed.wait_for(lambda: len(lines) >= wanted or left == 0, timeout=TIME_LIMIT)
            return list(lines)

    def _one(self, witness: Witness, checkpoint: str, size: int, now: int) -> str | None:
        name = witness.key.name
        try:
            line = witness.cosign(checkpoint, size, self._consistency, now)
        except Beyond as beyond:
            ours = self._size()  # read after its answer: other workers may have gone on meanwhile
            if beyond.size > ours:
                self._contradicts(name, f"it has seen {beyond.size} leaves, the database has {ours}")
        except Contradiction as contradiction:
            self._contradicts(name, str(contradiction))
        except NotCosigned as reason:
            _log.warning("witness_failed", witness=name, url=witness.url, reason=str(reason))
        except Exception as error:  # noqa: BLE001 - this thread has nobody above it; a stranger's words are not logged
            _log.error("witness_failed", witness=name, url=witness.url, kind=type(error).__name__)
        else:
            self._contradictions.pop(name, None)
            return line
        return None

    def _contradicts(self, name: str, reason: str) -> None:
        self._contradictions[name] = reason
        _log.error("witness_contradicts", alarm=True, witness=name, reason=reason)

    def close(self) -> None:
        """Ends the connections."""
        for witness in self._witnesses:
            witness.close()
