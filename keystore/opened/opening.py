"""From a key, one of its versions and an algorithm to what is done with it, by the key's purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import (
    AGREEMENT_ALGORITHMS,
    ENCAPSULATION_ALGORITHMS,
    ENCRYPTION_ALGORITHMS,
    KEY_SPECS,
    MAC_ALGORITHMS,
    KeyKind,
    Purpose,
    key_algorithms,
)
from keystore.api import OpenedKeyInfo, VersionState
from keystore.errors import Unsupported, WrongState
from keystore.opened.agreement import HsmAgreementKey
from keystore.opened.mac import HmacKey
from keystore.opened.rsa import RsaEncryptionKey
from keystore.opened.symmetric import SymmetricKey
from keystore.software_signing import SoftwareEncapsulationKey

if TYPE_CHECKING:
    from keystore.api import HardwareToken, Key, KeyVersion, OpenedKey
    from keystore.software import SoftwareKeys

_ALGORITHMS: Final = {
    **ENCRYPTION_ALGORITHMS,
    **MAC_ALGORITHMS,
    **AGREEMENT_ALGORITHMS,
    **ENCAPSULATION_ALGORITHMS,
}


def open_version(
    token: HardwareToken, software: SoftwareKeys, key: Key, version: KeyVersion, state: VersionState, algorithm: str
) -> OpenedKey:
    """A version of a key that makes no signatures. It makes something new only if it is the active one.

    Raises: `WrongState` for a revoked version; `Unsupported` for an algorithm that is not the key's.
    """
    if state is VersionState.REVOKED:
        raise WrongState(f"version {version.number} of the key is revoked")
    if algorithm not in key_algorithms(key.purpose, key.spec, key.algorithm, key.protection):
        raise Unsupported(f"the key has no algorithm {algorithm}", field="algorithm")
    info = OpenedKeyInfo(key.id, version.id, version.number, key.spec, key.purpose, _ALGORITHMS[algorithm])
    active = state is VersionState.ACTIVE
    if key.purpose is Purpose.MAC:
        return HmacKey(token, version.backing, info, active=active)
    if key.purpose is Purpose.AGREE:
        return HsmAgreementKey(token, version.backing, info)
    if key.purpose is Purpose.ENCRYPT and KEY_SPECS[key.spec].kind is KeyKind.RSA:
        return RsaEncryptionKey(token, version.backing, info, version.public_key, active=active)
    if key.purpose is Purpose.ENCRYPT and key.spec == "SYMMETRIC_DEFAULT":
        return SymmetricKey(token, version.backing, info, active=active)
    if key.purpose is Purpose.ENCAPSULATE:
        return SoftwareEncapsulationKey(software, version.backing, info, version.public_key, active=active)
    raise Unsupported(f"a {key.spec} key for {key.purpose} is not used here", field="spec")
