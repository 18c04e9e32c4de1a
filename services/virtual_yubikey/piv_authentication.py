"""Authentication to the PIV application: PIN, PUK and management key."""

import os
from dataclasses import replace

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.constant_time import bytes_eq

from services.virtual_yubikey.iso7816 import (
    Command,
    StatusError,
    StatusWord,
    parse_tlv,
    parse_tlvs,
    tlv,
)
from services.virtual_yubikey.session import Session
from services.virtual_yubikey.state import (
    AES_128,
    AES_192,
    AES_256,
    PIN,
    PUK,
    TDES,
    ManagementKey,
    default_references,
)

MANAGEMENT_KEY = 0x9B
REFERENCE_SIZE, MIN_REFERENCE_LENGTH, PADDING = 8, 6, b"\xff"
LOG_OUT = 0xFF
DYNAMIC_AUTHENTICATION, WITNESS, CHALLENGE, RESPONSE = 0x7C, 0x80, 0x81, 0x82
MANAGEMENT_KEY_SIZES = {TDES: 24, AES_128: 16, AES_192: 24, AES_256: 32}
TOUCH_REQUIRED, TOUCH_NOT_REQUIRED = 0xFFFE, 0xFFFF


def verify(session: Session, command: Command) -> bytes:
    """VERIFY (SP 800-73-4 part 2, 3.2.1): verify the PIN, query its status, or log out."""
    if command.p2 != PIN:
        raise StatusError(StatusWord.REFERENCE_NOT_FOUND)
    if command.p1 == LOG_OUT and not command.data:
        session.reset_pin_status()
    elif command.p1:
        raise StatusError(StatusWord.WRONG_P1_P2)
    elif not command.data:
        _report_retries(session)
    else:
        _verify_reference(session, PIN, command.data)
        session.pin_verified = session.pin_fresh = True
    return b""


def _report_retries(session: Session) -> None:
    remaining = session.device.references[PIN].remaining
    if not remaining:
        raise StatusError(StatusWord.AUTHENTICATION_BLOCKED)
    if not session.pin_verified:
        raise StatusError(StatusWord.RETRIES_LEFT | min(remaining, 0xF))


def change_reference(session: Session, command: Command) -> bytes:
    """CHANGE REFERENCE DATA (SP 800-73-4 part 2, 3.2.2): change the PIN or the PUK."""
    if command.parameters not in (PIN, PUK):
        raise StatusError(StatusWord.REFERENCE_NOT_FOUND)
    _verify_and_set(session, command.p2, command.p2, command.data)
    return b""


def reset_retry(session: Session, command: Command) -> bytes:
    """RESET RETRY COUNTER (SP 800-73-4 part 2, 3.2.3): set a new PIN with the PUK."""
    if command.parameters != PIN:
        raise StatusError(StatusWord.REFERENCE_NOT_FOUND)
    _verify_and_set(session, PUK, PIN, command.data)
    return b""


def set_retries(session: Session, command: Command) -> bytes:
    """SET PIN RETRIES (Yubico): set the retry limits; PIN and PUK become the factory ones."""
    session.require_management_key()
    session.require_pin()
    if not command.p1 or not command.p2:
        raise StatusError(StatusWord.WRONG_DATA)
    references = default_references(command.p1, command.p2)
    session.device = replace(session.device, references=references)
    return b""


def _verify_and_set(session: Session, verified: int, changed: int, data: bytes) -> None:
    """Verifies one reference and sets another. *data*: the old value, then the new one."""
    if len(data) != 2 * REFERENCE_SIZE:
        raise StatusError(StatusWord.WRONG_LENGTH)
    _verify_reference(session, verified, data[:REFERENCE_SIZE])
    value = data[REFERENCE_SIZE:]
    characters = value.rstrip(PADDING)
    if len(characters) < MIN_REFERENCE_LENGTH or PADDING in characters:
        raise StatusError(StatusWord.WRONG_DATA)
    tries = session.device.references[changed].tries
    reference = replace(session.device.references[changed], value=value, remaining=tries)
    session.device = session.device.with_reference(changed, reference)


def _verify_reference(session: Session, name: int, attempt: bytes) -> None:
    """Compares *attempt* with the PIN or PUK. A wrong one decrements the retry counter."""
    reference = session.device.references[name]
    if len(attempt) != REFERENCE_SIZE:
        raise StatusError(StatusWord.WRONG_DATA)
    if not reference.remaining:
        raise StatusError(StatusWord.AUTHENTICATION_BLOCKED)
    is_correct = bytes_eq(attempt, reference.value)
    remaining = reference.tries if is_correct else reference.remaining - 1
    if remaining != reference.remaining:
        reference = replace(reference, remaining=remaining)
        session.device = session.device.with_reference(name, reference)
    if not is_correct:
        if name == PIN:
            session.reset_pin_status()
        raise StatusError(StatusWord.RETRIES_LEFT | min(remaining, 0xF))


def authenticate_management_key(session: Session, command: Command) -> bytes:
    """GENERAL AUTHENTICATE with 9B, by both methods of SP 800-73-4 part 2, appendix A.1 and A.2.

    External: the card sends a challenge (81), which the host encrypts (82). Mutual: the card sends an encrypted witness
    (80); the host decrypts it, and sends a challenge that the card encrypts.
    """
    key = session.device.management_key
    if command.p1 != key.algorithm and (command.p1, key.algorithm) != (0, TDES):
        raise StatusError(StatusWord.WRONG_DATA)
    elements = parse_tlvs(parse_tlv(DYNAMIC_AUTHENTICATION, command.data))
    size = 8 if key.algorithm == TDES else 16
    if elements.get(WITNESS) == b"":
        witness = os.urandom(size)
        session.expected_response = (WITNESS, witness)
        return _response(WITNESS, _encrypt(key, witness))
    if elements.get(CHALLENGE) == b"":
        challenge = os.urandom(size)
        session.expected_response = (RESPONSE, _encrypt(key, challenge))
        return _response(CHALLENGE, challenge)
    expected_response, session.expected_response = session.expected_response, None
    session.management_authenticated = False
    if expected_response is None or not bytes_eq(elements.get(expected_response[0], b""), expected_response[1]):
        raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)
    challenge = elements.get(CHALLENGE, b"")
    if len(challenge) != (size if expected_response[0] == WITNESS else 0):
        raise StatusError(StatusWord.WRONG_DATA)
    if key.touch:
        session.require_touch()
    session.management_authenticated = True
    return _response(RESPONSE, _encrypt(key, challenge)) if challenge else b""


def set_management_key(session: Session, command: Command) -> bytes:
    """SET MANAGEMENT KEY (Yubico): algorithm, then the key under tag 9B."""
    session.require_management_key()
    if command.parameters not in (TOUCH_REQUIRED, TOUCH_NOT_REQUIRED):
        raise StatusError(StatusWord.WRONG_P1_P2)
    value = parse_tlv(MANAGEMENT_KEY, command.data[1:])
    algorithm = command.data[0]
    aes_too_early = algorithm != TDES and session.device.firmware < (5, 4, 0)
    if MANAGEMENT_KEY_SIZES.get(algorithm) != len(value) or aes_too_early:
        raise StatusError(StatusWord.WRONG_DATA)
    touch = command.parameters == TOUCH_REQUIRED
    session.device = replace(session.device, management_key=ManagementKey(algorithm, value, touch))
    return b""


def _response(tag: int, value: bytes) -> bytes:
    return tlv(DYNAMIC_AUTHENTICATION, tlv(tag, value))


def _encrypt(key: ManagementKey, block: bytes) -> bytes:
    algorithm = TripleDES(key.value) if key.algorithm == TDES else AES(key.value)
    encryptor = Cipher(algorithm, modes.ECB()).encryptor()  # noqa: S305 - one block, SP 800-73-4
    return encryptor.update(block) + encryptor.finalize()
