"""Random sequences of changes of key policies, identity policies, grants and duties, over the model of the service.

    python -m tests.signer.access.separation_sequences --sequences 10000 [--seed 20261125]

Half of the sequences are everybody's; in the other half one person alone makes every change, to reach both parts of
one key. Prints what was asked, refused and made; exits 1 at the first moment at which somebody administers and uses one
key.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from signer.access import Duty
from tests.signer.access.random_policies import ACCOUNT, KEYS, seeded
from tests.signer.access.separation_model import (
    ADMINISTERS_KEYS,
    ADMINISTERS_PEOPLE,
    Refused,
    State,
    does_both,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

SEED: Final = 20261125
STEPS: Final = 10
PEOPLE: Final = {
    "user/admin": Duty.ADMINISTRATOR,
    "user/other-admin": Duty.ADMINISTRATOR,
    "user/key-admin": Duty.KEY_ADMINISTRATOR,
    "user/other-key-admin": Duty.KEY_ADMINISTRATOR,
    "role/ci": Duty.KEY_USER,
    "role/deploy": Duty.KEY_USER,
}
ROOT: Final = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
ADMINISTER: Final = (
    ["kms:PutKeyPolicy", "kms:CreateGrant", "kms:RevokeGrant"],
    ["kms:Put*", "kms:Create*", "kms:Enable*", "kms:Disable*", "kms:Revoke*", "kms:Get*", "kms:Describe*"],
    ["kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:*Grant"],
)
USE: Final = (
    ["kms:Sign", "kms:SignArtifact", "kms:DescribeKey"],
    ["kms:Sign*", "kms:Verify*"],
    ["kms:IssueToken", "kms:Describe*"],
    ["kms:*crypt", "kms:GenerateDataKey*"],
)
# More than one part: what a tired operator writes.
WIDE: Final = (["kms:*"], ["*"], ["kms:S*"], ["kms:*Key*"], ["kms:????"], ["kms:D*", "kms:E*"])
NEUTRAL: Final = (["kms:DescribeKey", "kms:GetPublicKey"], ["kms:List*", "kms:Describe*"])
CONDITIONS: Final[tuple[dict[str, Any], ...]] = (
    {"StringEquals": {"kms:MessageType": "DIGEST"}},
    {"StringNotEquals": {"sealmark:SigningContext:repository": "web/main"}},
    {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
    {"Null": {"kms:RequestAlias": "false"}},
    {"StringEquals": {"kms:ViaService": "ec2.us-east-1.amazonaws.com"}},
    {"Bool": {"kms:GrantIsForAWSResource": "true"}},  # nothing here can satisfy it
)
GRANTED: Final = ("Sign", "SignArtifact", "Decrypt", "Verify", "DescribeKey", "GetPublicKey", "IssueToken")


@dataclass
class Seen:
    """What the sequences were made of."""

    asked: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)  # what lone actors did reach


def run(sequences: int, seed: int) -> Seen:
    """Raises `AssertionError` with the history if somebody administers and uses one key."""
    seen = Seen()
    for number in range(sequences):
        random = seeded(f"{seed}/{number}")
        state = beginning(random)
        alone = random.choice((*PEOPLE, "user/root")) if number % 2 else None
        _run_one(random, state, alone, seen)
        if does_both.cache_info().currsize > 200_000:
            does_both.cache_clear()
    return seen


def beginning(random: Random) -> State:
    """Two keys with policies as the short form makes them, and nobody with an identity policy."""
    state = State({**PEOPLE, "user/root": Duty.ROOT})
    for arn in KEYS:
        first, second = random.sample(("user/key-admin", "user/other-key-admin"), 2)
        administrators = [first] if random.random() < 0.5 else [first, second]
        state.create_key(
            first,
            arn,
            {
                "Version": "2012-10-17",
                "Statement": [
                    _statement("Allow", arns_of(administrators), ADMINISTER[1]),
                    _statement("Allow", arns_of(["role/ci"]), USE[0]),
                ],
            },
        )
    return state


def _run_one(random: Random, state: State, alone: str | None, seen: Seen) -> None:
    lone = Reached(alone)
    lone.look(state)
    for _ in range(STEPS):
        actor = alone or random.choice(list(PEOPLE))
        kind, change = _random_change(random, state, actor)
        seen.asked[kind] += 1
        try:
            change()
        except Refused as refusal:
            seen.refused[str(refusal)] += 1
            continue
        seen.made[kind] += 1
        both = state.overlapping()
        assert not both, (both, state)
        lone.look(state)
    if alone:
        seen.reached[f"{PEOPLE.get(alone, Duty.ROOT)} alone: {lone}"] += 1


@dataclass
class Reached:
    """What one who acts alone came to do with each key, at any moment of a sequence."""

    who: str | None
    administered: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def look(self, state: State) -> None:
        if self.who is None:
            return
        for arn in state.keys:
            if any(state.can(self.who, arn, action) for action in ("kms:PutKeyPolicy", "kms:CreateGrant")):
                self.administered.add(arn)
            if any(state.can(self.who, arn, action) for action in ("kms:Sign", "kms:Decrypt", "kms:IssueToken")):
                self.used.add(arn)
        assert not self.administered & self.used, (self, state)

    def __str__(self) -> str:
        return "administered" if self.administered else "used" if self.used else "neither"


def _random_change(random: Random, state: State, actor: str) -> tuple[str, Callable[[], None]]:
    arn = random.choice(KEYS)
    other = random.choice(list(PEOPLE))
    duty = state.duties[actor]
    # Mostly what the actor's duty has, so that more than refusals is seen; sometimes anything.
    keys, people = duty in ADMINISTERS_KEYS, duty in ADMINISTERS_PEOPLE
    if random.random() < 0.1 or not (keys or people):
        keys = people = True
    kinds = [*(["key policy"] * 3 + ["grant"] * 2 + ["revocation"]) * keys, *(["identity policy"] * 3) * people]
    kinds += ["removal", "duty"] * people
    kind = random.choice(kinds)
    if kind == "key policy":
        return kind, lambda: state.put_key_policy(actor, arn, random_key_policy(random, actor))
    if kind == "grant":
        return kind, lambda: state.create_grant(actor, arn, random_grant(random))
    if kind == "revocation":
        return kind, lambda: state.revoke_grant(actor, arn, f"grant-{random.randrange(4)}")
    if kind == "identity policy":
        name = f"policy-{random.randrange(2)}"
        return kind, lambda: state.put_identity_policy(actor, other, name, random_identity_policy(random))
    if kind == "removal":
        return kind, lambda: state.remove_identity_policy(actor, other, f"policy-{random.randrange(2)}")
    duty = random.choice((Duty.ADMINISTRATOR, Duty.KEY_ADMINISTRATOR, Duty.KEY_USER, Duty.AUDITOR))
    return kind, lambda: state.change_duty(actor, other, duty)


def random_key_policy(random: Random, actor: str) -> dict[str, Any]:
    """What an operator might write, and what one who wants both parts would."""
    statements = []
    if random.random() < 0.8:
        administrators = [actor] if random.random() < 0.5 else []
        administrators.append(random.choice(("user/key-admin", "user/other-key-admin")))
        statements.append(_statement("Allow", arns_of(administrators), random.choice(ADMINISTER)))
    statements += [_random_allow(random) for _ in range(random.choice((1, 1, 2)))]
    if random.random() < 0.4:
        statements.append(_random_deny(random))
    return {"Version": "2012-10-17", "Statement": statements}


def _random_allow(random: Random) -> dict[str, Any]:
    drawn = random.random()
    if drawn < 0.25:
        return _statement("Allow", ROOT, random.choice((["kms:*"], *USE, *ADMINISTER)), _condition(random, 0.1))
    if drawn < 0.35:
        return _statement("Allow", "*", random.choice((*NEUTRAL, *USE, *ADMINISTER, *WIDE)), _condition(random, 0.3))
    names = random.sample([*PEOPLE, "role/who-comes-later"], random.choice((1, 1, 2)))
    actions = random.choice((*USE, *USE, *NEUTRAL, *ADMINISTER, *WIDE))
    return _statement("Allow", arns_of(names), actions, _condition(random, 0.3), inverted=random.random() < 0.1)


def _random_deny(random: Random) -> dict[str, Any]:
    actions = random.choice((*USE, *ADMINISTER, *WIDE, *[["kms:*"]] * 6))
    if random.random() < 0.3:
        excepted = {"AWS": [ROOT["AWS"], *arns_of(random.sample(list(PEOPLE), 2))["AWS"]]}
        statement = _statement("Deny", excepted, actions, _condition(random, 0.2))
        statement["NotPrincipal"] = statement.pop("Principal")
        return statement
    return _statement(
        "Deny", arns_of(random.sample(list(PEOPLE), random.choice((1, 2)))), actions, _condition(random, 0.4)
    )


def random_identity_policy(random: Random, keys: tuple[str, ...] = KEYS) -> dict[str, Any]:
    statements = []
    for _ in range(random.choice((1, 1, 2))):
        effect = "Allow" if random.random() < 0.8 else "Deny"
        actions = random.choice((*USE, *ADMINISTER, *NEUTRAL, *WIDE))
        statement = _statement(effect, None, actions, _condition(random, 0.3), inverted=random.random() < 0.1)
        statement["Resource"] = random.choice(("*", f"arn:aws:kms:*:{ACCOUNT}:key/*", *keys))
        statements.append(statement)
    return {"Version": "2012-10-17", "Statement": statements}


def random_grant(random: Random) -> dict[str, Any]:
    grant: dict[str, Any] = {
        "GrantId": f"grant-{random.randrange(4)}",
        "GranteePrincipal": random.choice([*PEOPLE, "role/who-comes-later"]),
        "Operations": sorted(random.sample(GRANTED, random.choice((1, 2, 3)))),
    }
    if random.random() < 0.3:
        grant["Constraints"] = {"EncryptionContextEquals": {"repository": "web/main"}}
    return grant


def _condition(random: Random, share: float) -> dict[str, Any] | None:
    return random.choice(CONDITIONS) if random.random() < share else None


def arns_of(names: list[str]) -> dict[str, list[str]]:
    return {"AWS": list(dict.fromkeys(f"arn:aws:iam::{ACCOUNT}:{name}" for name in names))}


def _statement(
    effect: str, principal: Any, actions: list[str], condition: dict[str, Any] | None = None, *, inverted: bool = False
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": effect, "NotAction" if inverted else "Action": actions, "Resource": "*"}
    if principal is not None:
        statement["Principal"] = principal
    if condition is not None:
        statement["Condition"] = condition
    return statement


def main() -> int:
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description="Random sequences of changes against the separation of duties.")
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    try:
        seen = run(arguments.sequences, arguments.seed)
    except AssertionError as fault:
        sys.stdout.write(f"somebody administers and uses one key: {fault}\n")
        return 1
    lines = [f"{seen.asked[kind]:8} asked, {count:7} made: {kind}" for kind, count in seen.made.most_common()]
    lines += [f"{count:8} refused by {reason}" for reason, count in seen.refused.most_common()]
    lines += [f"{count:8} sequences of {who}" for who, count in seen.reached.most_common()]
    lines.append(f"{arguments.sequences} sequences, seed {arguments.seed}: nobody ever administered and used one key")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
