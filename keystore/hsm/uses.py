"""What is done with an opened backing key besides signing: AES-GCM, raw RSA, agreement, and telling AES keys apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from pkcs11 import Attribute

from keystore.ciphertexts import UNDECIPHERABLE
from keystore.errors import HsmFault, Undecipherable
from keystore.hsm.mechanisms import AES_ECB, GCM_NONCE, GCM_TAG, HMAC_SHA256, RAW_RSA, ecdh_call, gcm_call
from keystore.hsm.return_values import CryptokiError, ReturnValue
from keystore.hsm.templates import shared_secret

if TYPE_CHECKING:
    from keystore.hsm.session import Key, Session

# How modules say that a tag does not fit, or padding: SoftHSM 2.6.1 has one word for that and for a lost device.
_REFUSED: Final = frozenset(
    {
        ReturnValue.ENCRYPTED_DATA_INVALID,
        ReturnValue.ENCRYPTED_DATA_LEN_RANGE,
        ReturnValue.DATA_INVALID,
        ReturnValue.DATA_LEN_RANGE,
        ReturnValue.SIGNATURE_INVALID,
        ReturnValue.FUNCTION_FAILED,
        ReturnValue.GENERAL_ERROR,
    }
)
_NOT_OPENED: Final = "the HSM does not open what it has just encrypted"
# Two AES blocks that no nonce ever is, and what their encryption is hashed with: neither says anything of the key.
_MATERIAL: Final = hashlib.sha256(b"sealmark key material v1").digest()


def encrypt(session: Session, integrity: Key, key: Key, plaintext: bytes, associated: bytes) -> bytes:
    """Nonce, ciphertext and tag. The key has opened it again before this returns: what it does not open is lost.

    A nonce is of random bits, so one key version is good for 2^32 of these (SP 800-38D section 8.3).
    """
    nonce = session.random(GCM_NONCE)
    if len(nonce) != GCM_NONCE:
        raise HsmFault(f"the HSM gave {len(nonce)} random octets, not {GCM_NONCE}")
    made = session.encrypt(gcm_call(nonce, associated), key, plaintext)
    if len(made) != len(plaintext) + GCM_TAG:
        raise HsmFault(f"the HSM's ciphertext has {len(made)} octets, not {len(plaintext) + GCM_TAG}")
    try:
        opened = decrypt(session, integrity, key, nonce + made, associated)
    except Undecipherable as refused:
        raise HsmFault(_NOT_OPENED) from refused
    if opened != plaintext:
        raise HsmFault(_NOT_OPENED)
    return nonce + made


def decrypt(session: Session, integrity: Key, key: Key, sealed: bytes, associated: bytes) -> bytes:
    """The plaintext. Raises: `Undecipherable`, where the HSM is there and the ciphertext is not this key's."""
    if len(sealed) < GCM_NONCE + GCM_TAG:
        raise Undecipherable(UNDECIPHERABLE)
    try:
        return session.decrypt(gcm_call(sealed[:GCM_NONCE], associated), key, sealed[GCM_NONCE:])
    except CryptokiError as error:
        raise refusal(session, integrity, error) from error


def decrypt_raw(session: Session, integrity: Key, key: Key, ciphertext: bytes) -> bytes:
    """RSA's private operation alone, as long as the modulus. Raises: `Undecipherable`."""
    try:
        made = session.decrypt(RAW_RSA, key, ciphertext)
    except CryptokiError as error:
        raise refusal(session, integrity, error) from error
    if len(made) != len(ciphertext):
        raise HsmFault(f"the HSM's raw RSA returned {len(made)} octets, not {len(ciphertext)}")
    return made


def agree(session: Session, key: Key, point: bytes, size: int) -> bytes:
    """The x coordinate of the product, `size` octets with leading zeros (SP 800-56A section 5.7.1.2)."""
    secret = session.derive(ecdh_call(point), key, shared_secret(size))
    try:
        value = session.read(secret, Attribute.VALUE)
    finally:
        session.destroy(secret)
    if not 0 < len(value) <= size:
        raise HsmFault(f"the HSM agreed on {len(value)} octets, not {size}")
    return value.rjust(size, b"\0")


def refusal(session: Session, integrity: Key, error: CryptokiError) -> Exception:
    """What a failed decryption means: the HSM still makes a MAC, so it is the ciphertext; otherwise the error itself.

    Nothing is told of how far the HSM came with it.
    """
    if error.function != "C_Decrypt" or error.code not in _REFUSED:
        return error
    try:
        session.sign(HMAC_SHA256, integrity, b"alive")
    except CryptokiError:
        return error
    return Undecipherable(UNDECIPHERABLE)


def material_id(session: Session, key: Key) -> str:
    """Hex SHA-256 over two encrypted blocks that are always the same: it tells an AES key from others, and no more."""
    return hashlib.sha256(_MATERIAL + session.encrypt(AES_ECB, key, _MATERIAL)).hexdigest()
