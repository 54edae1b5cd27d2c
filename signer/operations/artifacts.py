"""`POST /v1/keys/{key}/artifacts`: signatures over files that never leave the caller; the service sees their
digests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import SIGNING_ALGORITHMS, Purpose
from signer.access import Action
from signer.errors import Unprocessable
from signer.formats import cms, raw
from signer.operations.base import Output, Plan, Prepared, Subject, prepare_each
from signer.request import Artifact, Artifacts

if TYPE_CHECKING:
    from keystore.api import SigningKey

MADE_TODAY: Final = ("cms", "raw")
DEFAULT_FORMATS: Final = ("cms",)


class ArtifactSignatures:
    """CMS and raw detached signatures for release files."""

    action: Final = Action.SIGN_ARTIFACT
    purpose: Final = Purpose.ARTIFACT
    body_type: Final = Artifacts

    def plan(self, subject: Subject, body: Artifacts) -> Plan:
        """Every format asked for, for every artifact. Raises `Unprocessable` for a fault of the call as a whole."""
        formats = tuple(dict.fromkeys(body.formats))
        for name in formats:
            if name not in subject.key.formats:
                msg = f"this key makes {', '.join(subject.key.formats)}; it was not made for {name}"
                raise Unprocessable(msg, field="formats")
        single = len(body.artifacts) == 1

        def prepare(artifact: Artifact, position: int) -> Prepared:
            return _prepare(subject, artifact, formats, f"artifacts[{position}].digests")

        return Plan(prepare_each(body.artifacts, prepare), single, body.context)


def _prepare(subject: Subject, artifact: Artifact, formats: tuple[str, ...], at: str) -> Prepared:
    algorithm = SIGNING_ALGORITHMS[subject.key.algorithm]
    hash_name = algorithm.hash_name
    given = getattr(artifact.digests, hash_name) if hash_name else None
    if hash_name is None or given is None:
        msg = f"a key that signs with {algorithm.name} needs the file's {hash_name} digest"
        raise Unprocessable(msg, field=f"{at}.{hash_name}")
    digest = bytes.fromhex(given)

    def make(key: SigningKey) -> Output:
        signatures: dict[str, object] = {}
        for name in formats:
            if name == "cms":
                signatures["cms"] = cms.detached(key, digest, subject.chain(), subject.now)
            else:
                signatures["raw"] = raw.sign_digest(key, digest)
        return {"name": artifact.name, "signatures": signatures}

    return Prepared(algorithm.name, make)
