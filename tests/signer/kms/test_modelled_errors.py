"""Each error of botocore's model, provoked of each operation that has it; docs/kms-coverage.md tells of the rest."""

from __future__ import annotations

import base64
import os
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import text

from keystore.api import CredentialRecord, PrincipalRecord
from keystore.errors import HsmUnavailable
from keystore.rotation import MOST_ON_DEMAND
from signer.access.actions import POLICY_ACTIONS, Part
from signer.access.duties import COMMON_ACTIONS, USERS_ACTIONS, Action, Duty
from signer.authn.tokens import new_token, stored_form
from signer.kms.operations import OPERATIONS
from tests.keystore.imported import OneWrappingKey, wrapped
from tests.signer.kms.model import errors_of
from tests.signer.kms.unprovoked import pairs, why_not
from tests.signer.service import ServiceInProcess, running_service
from tools.kms_coverage import PAGE, page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token

MESSAGE: Final = base64.b64encode(b"a message").decode()
FOREVER: Final[dict[str, object]] = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
ZEROS: Final = base64.b64encode(bytes(32)).decode()
PURPOSES: Final = {
    "sign": ("ECC_NIST_P256", "general"),
    "encrypt": ("SYMMETRIC_DEFAULT", "encrypt"),
    "mac": ("HMAC_256", "mac"),
    "agree": ("ECC_NIST_P256", "agree"),
    "encapsulate": ("ML_KEM_768", "encapsulate"),
}
# Operations that use a key of one of these; every other is about a symmetric key.
FAMILY: Final = {
    **dict.fromkeys(("Sign", "Verify", "GetPublicKey"), "sign"),
    **dict.fromkeys(("GenerateMac", "VerifyMac"), "mac"),
    **dict.fromkeys(("GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial"), "imported"),
    "DeriveSharedSecret": "agree",
    **dict.fromkeys(("Encapsulate", "Decapsulate"), "encapsulate"),
}


class FailingToken(OneWrappingKey):
    """A real token that fails when it is told to."""

    fails = False

    def seal(self, message: bytes) -> bytes:
        if self.fails:
            msg = "told to fail"
            raise HsmUnavailable(msg)
        return super().seal(message)


@dataclass
class World:
    """A service, its keys in several states, and callers of several kinds."""

    service: ServiceInProcess
    token: FailingToken
    keys: dict[str, str] = field(default_factory=dict)  # family, or family and state → id
    made: dict[str, Any] = field(default_factory=dict)

    def caller(self, operation: str, kind: str) -> str:
        """A token of somebody whose duty has the operation. Kinds: `usual` people, who are named by the keys' policies;
        `wide`, whose identity policies allow all of their duty; `broken`, whose row was changed behind the service's
        back; `fresh`, whom nobody has seen yet."""
        uses = set(OPERATIONS[operation].actions) <= {*USERS_ACTIONS, *COMMON_ACTIONS, Action.GENERATE_RANDOM}
        duty = Duty.KEY_USER if uses and OPERATIONS[operation].actions else Duty.KEY_ADMINISTRATOR
        if kind == "usual":
            return self.service.tokens["role/ci" if duty is Duty.KEY_USER else "user/key-admin"]
        if kind == "fresh":
            return principal(self.service, f"role/{uuid.uuid4().hex}", duty)
        return self.service.tokens[f"{kind} {duty}"]

    def admin(self, operation: str, **members: object) -> Any:
        answer = self.service.kms("user/key-admin", operation, members)
        assert answer.status_code == 200, answer.data
        return answer.get_json(force=True) if answer.data else None

    def done(self, operation: str, **members: object) -> Any:
        answer = self.service.kms("role/ci", operation, members)
        assert answer.status_code == 200, answer.data
        return answer.get_json(force=True)


def principal(service: ServiceInProcess, name: str, duty: Duty) -> str:
    moment, token = datetime.now(UTC), new_token()
    stored = stored_form(token)
    service.services.keystore.create_principal(
        PrincipalRecord(name, duty.value, "enabled", moment, "user/admin"),
        credential=CredentialRecord(stored.id, name, stored.digest, "enabled", moment, None),
    )
    return token


@pytest.fixture(scope="module")
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    failing = FailingToken(token)
    place = tmp_path_factory.mktemp("errors")
    with running_service(failing, place, software_specs=["ML_KEM_768"]) as service:
        made = World(service, failing)
        for family, (spec, purpose) in PURPOSES.items():
            for state in ("", " disabled", " pending"):
                key = service.make_key(f"k-{uuid.uuid4().hex[:8]}", spec=spec, purpose=purpose)["id"]
                made.keys[family + state] = key
                if state == " disabled":
                    made.admin("DisableKey", KeyId=key)
                elif state == " pending":
                    made.admin("ScheduleKeyDeletion", KeyId=key)
        made.keys["other"] = service.make_key("other", spec="SYMMETRIC_DEFAULT", purpose="encrypt")["id"]
        for name in ("imported", "imported pending"):
            made.keys[name] = imported_key(made)
        made.admin("ScheduleKeyDeletion", KeyId=made.keys["imported pending"])
        made.keys["often"] = often_rotated_key(made)
        made.made["ciphertext"] = made.done("Encrypt", KeyId=made.keys["encrypt"], Plaintext=MESSAGE)["CiphertextBlob"]
        grantee = {"GranteePrincipal": "role/other", "RetiringPrincipal": "role/ci", "Operations": ["Encrypt"]}
        made.made["grant"] = made.admin("CreateGrant", KeyId=made.keys["encrypt"], **grantee)
        made.admin("CreateAlias", AliasName="alias/taken", TargetKeyId=made.keys["encrypt"])
        add_callers(service)
        yield made


def imported_key(world: World) -> str:
    """A key with material from outside."""
    made = world.service.make_key(
        f"k-{uuid.uuid4().hex[:8]}", spec="SYMMETRIC_DEFAULT", purpose="encrypt", origin="EXTERNAL"
    )
    world.admin("ImportKeyMaterial", **material(world, made["id"], os.urandom(32)))
    return str(made["id"])


def often_rotated_key(world: World) -> str:
    """A key that has been rotated on demand as often as that is allowed."""
    key = str(world.service.make_key("often", spec="SYMMETRIC_DEFAULT", purpose="encrypt")["id"])
    for _ in range(MOST_ON_DEMAND):
        world.admin("RotateKeyOnDemand", KeyId=key)
    return key


def material(world: World, key: str, octets: bytes) -> dict[str, object]:
    """A request to import it."""
    algorithm = "RSAES_OAEP_SHA_256"
    asked = {"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
    told = world.admin("GetParametersForImport", **asked)
    sealed = wrapped(base64.b64decode(told["PublicKey"]), algorithm, octets)
    return {
        "KeyId": key,
        "ImportToken": told["ImportToken"],
        "EncryptedKeyMaterial": base64.b64encode(sealed).decode(),
        **FOREVER,
    }


def add_callers(service: ServiceInProcess) -> None:
    for duty, part in ((Duty.KEY_USER, Part.USE), (Duty.KEY_ADMINISTRATOR, Part.ADMINISTER)):
        for kind in ("wide", "broken"):
            name = f"role/{kind}-{duty}"
            service.tokens[f"{kind} {duty}"] = principal(service, name, duty)
        allowed = [name for name, found in POLICY_ACTIONS.items() if found in (part, Part.NEUTRAL)]
        statement = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
        policy = {"policy": {"Version": "2012-10-17", "Statement": statement}}
        service.made("user/admin", "PUT", f"/v1/principals/role/wide-{duty}/policies/all", policy)
        with service.services.keystore.database.write() as connection:
            connection.execute(
                text("UPDATE principals SET created_by = 'role/other' WHERE id = :name"),
                {"name": f"role/broken-{duty}"},
            )


def right(world: World, operation: str) -> dict[str, object]:
    """A request that nothing is wrong with."""
    key, ciphertext = world.keys[FAMILY.get(operation, "encrypt")], world.made["ciphertext"]
    sign: dict[str, object] = {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    mac: dict[str, object] = {"Message": MESSAGE, "MacAlgorithm": "HMAC_SHA_256"}
    kem: dict[str, object] = {"EncapsulationAlgorithm": "ML_KEM"}
    grant: dict[str, object] = {"GrantId": world.made["grant"]["GrantId"]}
    more: dict[str, dict[str, object]] = {
        "Sign": sign,
        "Verify": {**sign, "Signature": ZEROS},
        "GenerateMac": mac,
        "VerifyMac": {**mac, "Mac": ZEROS},
        "Encrypt": {"Plaintext": MESSAGE},
        "Decrypt": {"CiphertextBlob": ciphertext},
        "GenerateDataKey": {"KeySpec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": {"KeySpec": "AES_256"},
        "GenerateDataKeyPair": {"KeyPairSpec": "ECC_NIST_P256"},
        "GenerateDataKeyPairWithoutPlaintext": {"KeyPairSpec": "ECC_NIST_P256"},
        "DeriveSharedSecret": {"KeyAgreementAlgorithm": "ECDH", "PublicKey": peer(world)},
        "Encapsulate": kem,
        "Decapsulate": {**kem, "SharedSecretCiphertextBlob": base64.b64encode(bytes(1088)).decode()},
        "CreateGrant": {"GranteePrincipal": "role/other", "Operations": ["Encrypt"]},
        "RetireGrant": grant,
        "RevokeGrant": grant,
        "TagResource": {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
        "UntagResource": {"TagKeys": ["a"]},
        "UpdateKeyDescription": {"Description": "d"},
        "PutKeyPolicy": {"Policy": "{}"},
        "GetParametersForImport": {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"},
        "ImportKeyMaterial": {"ImportToken": ZEROS, "EncryptedKeyMaterial": ZEROS, **FOREVER},
        "ReplicateKey": {"ReplicaRegion": "eu-west-1"},
        "UpdatePrimaryRegion": {"PrimaryRegion": "eu-west-1"},
    }
    others: dict[str, dict[str, object]] = {
        "CreateKey": {},
        "GenerateRandom": {"NumberOfBytes": 1},
        "ListKeys": {},
        "ListRetirableGrants": {"RetiringPrincipal": "role/ci"},
        "CreateAlias": {"AliasName": f"alias/{uuid.uuid4().hex}", "TargetKeyId": key},
        "UpdateAlias": {"AliasName": "alias/taken", "TargetKeyId": key},
        "DeleteAlias": {"AliasName": "alias/taken"},
        "ReEncrypt": {"CiphertextBlob": ciphertext, "SourceKeyId": key, "DestinationKeyId": world.keys["other"]},
    }
    return others[operation] if operation in others else {"KeyId": key, **more.get(operation, {})}


def peer(world: World) -> object:
    return world.done("GetPublicKey", KeyId=world.keys["agree"])["PublicKey"]


def about(operation: str) -> str:
    """The member that names the key."""
    return {"CreateAlias": "TargetKeyId", "UpdateAlias": "TargetKeyId", "ReEncrypt": "SourceKeyId"}.get(
        operation, "KeyId"
    )


def absent(world: World, operation: str) -> dict[str, object]:
    if operation == "DeleteAlias":
        return {"AliasName": "alias/none"}
    body = right(world, operation)
    if operation == "PutKeyPolicy":
        body = {**body, "Policy": world.admin("GetKeyPolicy", KeyId=world.keys["encrypt"])["Policy"]}
    return {**body, about(operation): str(uuid.uuid4())}


def malformed(world: World, operation: str) -> dict[str, object]:
    if operation == "ListRetirableGrants":
        return {"RetiringPrincipal": "arn:aws:iam::000000000000:group/people"}
    return {**absent(world, operation), about(operation): "arn:aws:kms:us-east-1:key"}


def in_state(state: str) -> Callable[[World, str], dict[str, object]]:
    def body(world: World, operation: str) -> dict[str, object]:
        if operation == "CancelKeyDeletion":
            return right(world, operation)  # of a key that nobody wants deleted
        family = FAMILY.get(operation, "encrypt")
        return {**absent(world, operation), about(operation): world.keys[f"{family} {state}"]}

    return body


def with_members(**members: object) -> Callable[[World, str], dict[str, object]]:
    return lambda world, operation: {**right(world, operation), **members}


def of_another_purpose(world: World, operation: str) -> dict[str, object]:
    family = "encrypt" if FAMILY.get(operation) == "mac" else "mac"
    return {**right(world, operation), about(operation): world.keys[family]}


def unsupported(world: World, operation: str) -> dict[str, object]:
    asked: dict[str, dict[str, object]] = {
        "CreateKey": {"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"},
        "GenerateDataKeyPair": {"KeyPairSpec": "SM2"},
        "GenerateDataKeyPairWithoutPlaintext": {"KeyPairSpec": "SM2"},
        "GenerateRandom": {"CustomKeyStoreId": "cks-1"},
    }
    rotation = ("EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus", "RotateKeyOnDemand")
    if operation in (*rotation, "ListKeyRotations"):
        return {"KeyId": world.keys["sign"]}
    if operation == "GetPublicKey" or FAMILY.get(operation) == "imported":
        return {**right(world, operation), "KeyId": world.keys["encrypt"]}
    if operation in ("ReplicateKey", "UpdatePrimaryRegion"):
        return right(world, operation)  # of a key of one region
    return {**right(world, operation), **asked.get(operation, {})}


def limited(world: World, operation: str) -> dict[str, object]:
    if operation == "RotateKeyOnDemand":
        return {"KeyId": world.keys["often"]}
    return {**right(world, operation), "Tags": [{"TagKey": str(number), "TagValue": ""} for number in range(51)]}


def of_import(octets: bytes | None) -> Callable[[World, str], dict[str, object]]:
    """Other material than the key has; or what is no wrapped material."""

    def body(world: World, _operation: str) -> dict[str, object]:
        asked = material(world, world.keys["imported"], octets or b"")
        return asked if octets else {**asked, "EncryptedKeyMaterial": base64.b64encode(bytes(256)).decode()}

    return body


def tagged(world: World, operation: str) -> dict[str, object]:
    if operation == "UntagResource":
        return {**right(world, operation), "TagKeys": ["aws:mine"]}
    return {**right(world, operation), "Tags": [{"TagKey": "aws:mine", "TagValue": ""}]}


def of_another_key(world: World, operation: str) -> dict[str, object]:
    return {**right(world, operation), about(operation): world.keys["other"]}


# Error → the request that provokes it, of whatever operation; and of one.
BODIES: Final[dict[str, Callable[[World, str], dict[str, object]]]] = {
    "KMSInternalException": right,
    "DependencyTimeoutException": right,
    "NotFoundException": absent,
    "InvalidArnException": malformed,
    "DisabledException": in_state("disabled"),
    "KMSInvalidStateException": in_state("pending"),
    "InvalidGrantTokenException": with_members(GrantTokens=["AAAA"]),
    "DryRunOperationException": with_members(DryRun=True),
    "InvalidKeyUsageException": of_another_purpose,
    "UnsupportedOperationException": unsupported,
    "InvalidMarkerException": with_members(Marker="AAAA"),
    "LimitExceededException": limited,
    "TagException": tagged,
    "MalformedPolicyDocumentException": with_members(Policy="{}"),
    "InvalidGrantIdException": with_members(GrantId=str(uuid.uuid4())),
    "AlreadyExistsException": with_members(AliasName="alias/taken"),
    "InvalidAliasNameException": with_members(AliasName="alias/aws/mine"),
    "IncorrectKeyException": of_another_key,
    "InvalidCiphertextException": with_members(CiphertextBlob=ZEROS),
    "KMSInvalidSignatureException": right,
    "KMSInvalidMacException": right,
    "IncorrectKeyMaterialException": of_import(bytes(32)),
    "InvalidImportTokenException": lambda world, _operation: {
        **material(world, world.keys["imported"], bytes(32)),
        "ImportToken": ZEROS,
    },
}
OF_ONE: Final[dict[tuple[str, str], Callable[[World, str], dict[str, object]]]] = {
    ("ImportKeyMaterial", "InvalidCiphertextException"): of_import(None),
    ("Decapsulate", "InvalidCiphertextException"): with_members(SharedSecretCiphertextBlob=ZEROS),
    ("RetireGrant", "InvalidGrantTokenException"): lambda _world, _operation: {"GrantToken": "AAAA"},
}
# Who asks, where it is not the people that the keys' policies name.
KINDS: Final = {
    "KMSInternalException": "broken",
    "DependencyTimeoutException": "fresh",
    "NotFoundException": "wide",
    "InvalidArnException": "wide",
}
STATUSES: Final = {"KMSInternalException": 500, "DependencyTimeoutException": 503}
PROVOKED: Final = [(operation, error) for operation, error in pairs() if why_not(operation, error) is None]


@pytest.mark.parametrize(("operation", "error"), PROVOKED)
def test_each_modelled_error_is_provoked(world: World, operation: str, error: str) -> None:
    body = OF_ONE.get((operation, error), BODIES[error])(world, operation)
    caller_kind = KINDS.get(error, "usual")
    who = world.caller(operation, caller_kind)
    world.token.fails = error == "DependencyTimeoutException"
    try:
        answer = world.service.kms(who, operation, body)
    finally:
        world.token.fails = False
    told = answer.get_json(force=True) if answer.data else {}
    assert (answer.status_code, told.get("__type")) == (STATUSES.get(error, 400), error), told


def test_the_reasons_are_of_errors_that_there_are() -> None:
    from tests.signer.kms.unprovoked import OF_ONE as REASONS
    from tests.signer.kms.unprovoked import OF_TWO_REGIONS, STATELESS

    assert set(REASONS) <= set(pairs())
    assert {(name, error) for name, errors in OF_TWO_REGIONS.items() for error in errors} <= set(pairs())
    assert all("KMSInvalidStateException" in errors_of(name) for name in STATELESS)


def test_the_page_of_coverage_is_as_it_is() -> None:
    assert PAGE.read_text() == page()
