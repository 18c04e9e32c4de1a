"""Key slots of the PIV application: generation, import, use, attestation, move and metadata."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.virtual_yubikey.attestation import Attester, attest
from services.virtual_yubikey.iso7816 import (
    Command,
    StatusError,
    StatusWord,
    parse_tlv,
    parse_tlvs,
    tlv,
)
from services.virtual_yubikey.piv_authentication import (
    DYNAMIC_AUTHENTICATION,
    MANAGEMENT_KEY,
    RESPONSE,
)
from services.virtual_yubikey.piv_keys import (
    Algorithm,
    agree,
    algorithm_of,
    generate,
    import_key,
    public_key_tlvs,
    sign_or_decrypt,
    supported_algorithm,
)
from services.virtual_yubikey.session import Session
from services.virtual_yubikey.state import (
    ATTESTATION_OBJECT,
    ATTESTATION_SLOT,
    CERTIFICATE,
    DEFAULT_MANAGEMENT_KEY,
    DEFAULT_VALUES,
    NEVER,
    Origin,
    SlotKey,
)

SLOTS = {0x9A, 0x9C, 0x9D, 0x9E, *range(0x82, 0x96), ATTESTATION_SLOT}
GENERATION, ALGORITHM, PUBLIC_KEY = 0xAC, 0x80, 0x7F49
PIN_POLICY, TOUCH_POLICY = 0xAA, 0xAB
DEFAULT, ONCE, ALWAYS = 0, 2, 3
TOUCH_ALWAYS, TOUCH_CACHED = 2, 3
# Digital signature requires the PIN each time, card authentication never (SP 800-73-4 part 1, 5.1).
DEFAULT_PIN_POLICIES = {0x9C: ALWAYS, 0x9E: NEVER}
DELETE_TARGET = 0xFF
REFERENCE_ALGORITHM = 0xFF


def generate_key(session: Session, command: Command) -> bytes:
    """GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4 part 2, 3.3.2), with Yubico's policies."""
    session.require_management_key()
    elements = parse_tlvs(parse_tlv(GENERATION, command.data))
    algorithm = _algorithm(session, int.from_bytes(elements.get(ALGORITHM, b"")), command.p2)
    pin_policy, touch_policy = _policies(command.p2, elements)
    private_key = generate(algorithm)
    key = SlotKey(private_key=private_key, origin=Origin.GENERATED, pin_policy=pin_policy, touch_policy=touch_policy)
    session.device = session.device.with_key(command.p2, key)
    return tlv(PUBLIC_KEY, public_key_tlvs(private_key))


def import_asymmetric(session: Session, command: Command) -> bytes:
    """IMPORT ASYMMETRIC KEY (Yubico)."""
    session.require_management_key()
    elements = parse_tlvs(command.data)
    algorithm = _algorithm(session, command.p1, command.p2)
    pin_policy, touch_policy = _policies(command.p2, elements)
    private_key = import_key(algorithm, elements)
    key = SlotKey(private_key=private_key, origin=Origin.IMPORTED, pin_policy=pin_policy, touch_policy=touch_policy)
    session.device = session.device.with_key(command.p2, key)
    return b""


def _algorithm(session: Session, number: int, slot: int) -> Algorithm:
    algorithm = supported_algorithm(number, session.device.firmware)
    # An attestation key signs certificates, which X25519 cannot.
    unable = slot == ATTESTATION_SLOT and algorithm is Algorithm.X25519
    if slot not in SLOTS or unable:
        raise StatusError(StatusWord.WRONG_DATA)
    return algorithm


def _policies(slot: int, elements: dict[int, bytes]) -> tuple[int, int]:
    pin = int.from_bytes(elements.get(PIN_POLICY, b"")) or DEFAULT_PIN_POLICIES.get(slot, ONCE)
    touch = int.from_bytes(elements.get(TOUCH_POLICY, b"")) or NEVER
    if pin not in (NEVER, ONCE, ALWAYS) or touch not in (NEVER, TOUCH_ALWAYS, TOUCH_CACHED):
        raise StatusError(StatusWord.WRONG_DATA)
    return pin, touch


def use_key(session: Session, command: Command) -> bytes:
    """GENERAL AUTHENTICATE with the key of a slot: sign, decrypt (81) or key agreement (85)."""
    key = session.device.keys.get(command.p2)
    if key is None or command.p1 != algorithm_of(key.private_key):
        raise StatusError(StatusWord.WRONG_DATA)
    _require_pin_for(session, key)
    if key.touch_policy in (TOUCH_ALWAYS, TOUCH_CACHED):
        session.require_touch(cached=key.touch_policy == TOUCH_CACHED)
    match parse_tlvs(parse_tlv(DYNAMIC_AUTHENTICATION, command.data)):
        case {0x85: peer}:
            result = agree(key.private_key, peer)
        case {0x81: message}:
            result = sign_or_decrypt(key.private_key, message)
        case _:
            raise StatusError(StatusWord.WRONG_DATA)
    return tlv(DYNAMIC_AUTHENTICATION, tlv(RESPONSE, result))


def _require_pin_for(session: Session, key: SlotKey) -> None:
    if key.pin_policy != NEVER:
        session.require_pin()
    if key.pin_policy == ALWAYS and not session.pin_fresh:
        raise StatusError(StatusWord.SECURITY_STATUS_NOT_SATISFIED)
    session.pin_fresh = False


def attest_key(session: Session, command: Command) -> bytes:
    """ATTEST (Yubico): an attestation statement for a key that was generated on the device."""
    slot, device = command.p1, session.device
    if slot not in SLOTS or slot == ATTESTATION_SLOT:
        raise StatusError(StatusWord.WRONG_DATA)
    key, attesting = device.keys.get(slot), device.keys.get(ATTESTATION_SLOT)
    if key is None or attesting is None:
        raise StatusError(StatusWord.FILE_NOT_FOUND)
    if key.origin != Origin.GENERATED:
        raise StatusError(StatusWord.WRONG_DATA)
    certificate = _attestation_certificate(device.objects.get(ATTESTATION_OBJECT, b""))
    attester = Attester(attesting.private_key, certificate)
    return attest(attester, device, slot, key).public_bytes(Encoding.DER)


def _attestation_certificate(content: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(parse_tlvs(content).get(CERTIFICATE, b""))
    except ValueError:  # any content may have been written there
        raise StatusError(StatusWord.FILE_NOT_FOUND) from None


def move_key(session: Session, command: Command) -> bytes:
    """MOVE KEY (Yubico, firmware 5.7): move to an empty slot, or delete (target FF)."""
    session.require_management_key()
    target, source = command.p1, command.p2
    key = session.device.keys.get(source)
    if key is None:
        raise StatusError(StatusWord.REFERENCE_NOT_FOUND)
    if target != DELETE_TARGET:
        fixed = ATTESTATION_SLOT in (source, target)
        if fixed or target not in SLOTS or target in session.device.keys:
            raise StatusError(StatusWord.WRONG_DATA)
        session.device = session.device.with_key(target, key)
    session.device = session.device.with_key(source, None)
    return b""


def get_metadata(session: Session, command: Command) -> bytes:
    """GET METADATA (Yubico, firmware 5.3) of the PIN, the PUK, the management key or a slot."""
    device, name = session.device, command.p2
    if name in device.references:
        reference = device.references[name]
        return _metadata(
            {
                0x01: [REFERENCE_ALGORITHM],
                0x05: [reference.value == DEFAULT_VALUES[name]],
                0x06: [reference.tries, reference.remaining],
            }
        )
    if name == MANAGEMENT_KEY:
        management_key = device.management_key
        return _metadata(
            {
                0x01: [management_key.algorithm],
                0x02: [DEFAULT, TOUCH_ALWAYS if management_key.touch else NEVER],
                0x05: [management_key.value == DEFAULT_MANAGEMENT_KEY],
            }
        )
    if name not in device.keys:
        raise StatusError(StatusWord.REFERENCE_NOT_FOUND)
    key = device.keys[name]
    return _metadata(
        {
            0x01: [algorithm_of(key.private_key)],
            0x02: [key.pin_policy, key.touch_policy],
            0x03: [key.origin],
            0x04: public_key_tlvs(key.private_key),
        }
    )


def _metadata(elements: dict[int, list[int] | bytes]) -> bytes:
    return b"".join(tlv(tag, bytes(value)) for tag, value in elements.items())
