"""`POST /v1/random`: what AWS KMS calls GenerateRandom. It is about no key: octets of the HSM's own generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signer.access import Action
from signer.call import Answer
from signer.cryptographic_requests import RandomOctets

if TYPE_CHECKING:
    from keystore.api import Key
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.call import Call
    from signer.pipeline import Pipeline


def random_octets(pipeline: Pipeline, keystore: Keystore, call: Call) -> Answer:
    """`{"random": …}`. Recorded as a look: that it was asked and how much, nothing of what came."""

    def work(_permit: Permit, _key: Key | None, body: RandomOctets) -> Answer:
        made = keystore.random_octets(body.number_of_bytes)
        return Answer({"random": made}, recorded={"number_of_bytes": body.number_of_bytes})

    return pipeline.look(call, Action.GENERATE_RANDOM, RandomOctets, work)
