"""The virtual YubiKey, used through unmodified yubikit."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ykman.piv import (
    check_key,
    generate_ccc,
    generate_chuid,
    get_piv_info,
    get_pivman_protected_data,
    list_certificates,
    pivman_set_mgm_key,
    sign_certificate_builder,
    sign_csr_builder,
)
from yubikit.core import (
    TRANSPORT,
    ApplicationNotAvailableError,
    InvalidPinError,
    NotSupportedError,
)
from yubikit.core.smartcard import ApduError, SmartCardConnection, SmartCardProtocol
from yubikit.management import CAPABILITY, FORM_FACTOR, ManagementSession
from yubikit.oath import OathSession
from yubikit.piv import (
    DEFAULT_MANAGEMENT_KEY,
    KEY_TYPE,
    MANAGEMENT_KEY_TYPE,
    OBJECT_ID,
    PIN_POLICY,
    SLOT,
    TOUCH_POLICY,
    PivSession,
    PrivateKey,
)

from services.virtual_yubikey import SealedFileError, VirtualYubiKeys

SERIAL, OTHER_SERIAL = 42000001, 42000002
SEALING_KEY = bytes(range(32))
PIN, PUK = "123456", "12345678"
SECURITY_STATUS, BLOCKED, WRONG_DATA, NO_FILE, NO_REFERENCE = 0x6982, 0x6983, 0x6A80, 0x6A82, 0x6A88
P_256, P_384 = ec.SECP256R1(), ec.SECP384R1()


def plug_in(directory: Path, firmware: tuple[int, int, int] = (5, 7, 4)) -> VirtualYubiKeys:
    return VirtualYubiKeys(directory, SEALING_KEY, [SERIAL, OTHER_SERIAL], firmware)


def administer(yubikeys: VirtualYubiKeys) -> PivSession:
    session = PivSession(yubikeys.open(SERIAL))
    session.authenticate(DEFAULT_MANAGEMENT_KEY)
    return session


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(ApduError) as error:
        call()
    return error.value.sw


def certificate_builder(public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, public_key, x509.random_serial_number())
    return builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))


def certificate_for(public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
    return certificate_builder(public_key).sign(ec.generate_private_key(P_256), hashes.SHA256())


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    return tmp_path / "yubikeys"


@pytest.fixture(name="yubikeys")
def _yubikeys(directory: Path) -> VirtualYubiKeys:
    return plug_in(directory)


@pytest.fixture(name="connection")
def _connection(yubikeys: VirtualYubiKeys) -> SmartCardConnection:
    return yubikeys.open(SERIAL)


@pytest.fixture(name="session")
def _session(connection: SmartCardConnection) -> PivSession:
    return PivSession(connection)


@pytest.fixture(name="admin")
def _admin(yubikeys: VirtualYubiKeys) -> PivSession:
    return administer(yubikeys)


# The device


def test_a_new_device_is_in_factory_state(session: PivSession) -> None:
    assert session.version == (5, 7, 4)
    assert session.get_serial() == SERIAL
    for metadata in (session.get_pin_metadata(), session.get_puk_metadata()):
        assert metadata.default_value
        assert (metadata.total_attempts, metadata.attempts_remaining) == (3, 3)
    management_key = session.get_management_key_metadata()
    assert management_key.default_value
    assert management_key.key_type is MANAGEMENT_KEY_TYPE.AES192
    assert list_certificates(session) == {}
    assert status_of(lambda: session.get_slot_metadata(SLOT.AUTHENTICATION)) == NO_REFERENCE
    assert status_of(lambda: session.get_object(OBJECT_ID.CHUID)) == NO_FILE
    with pytest.raises(NotSupportedError):
        session.get_bio_metadata()


def test_the_management_application_tells_what_the_device_is(
    connection: SmartCardConnection,
) -> None:
    info = ManagementSession(connection).read_device_info()

    assert info.serial == SERIAL
    assert info.version == (5, 7, 4)
    assert info.form_factor is FORM_FACTOR.USB_A_KEYCHAIN
    assert info.supported_capabilities == {TRANSPORT.USB: CAPABILITY.PIV}
    assert info.config.enabled_capabilities == {TRANSPORT.USB: CAPABILITY.PIV}


def test_applications_it_does_not_have_are_not_available(connection: SmartCardConnection) -> None:
    with pytest.raises(ApplicationNotAvailableError):
        OathSession(connection)


def test_ykman_describes_it(admin: PivSession) -> None:
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)

    assert get_piv_info(admin)


def test_only_what_is_plugged_in_opens(yubikeys: VirtualYubiKeys) -> None:
    assert yubikeys.serials() == [SERIAL, OTHER_SERIAL]
    with pytest.raises(KeyError, match="42000003"):
        yubikeys.open(42000003)


def test_a_closed_connection_answers_nothing(connection: SmartCardConnection) -> None:
    connection.close()

    with pytest.raises(ConnectionError):
        connection.send_and_receive(bytes.fromhex("00A4040005A000000308"))


def test_older_firmware_lacks_what_came_later(tmp_path: Path) -> None:
    session = administer(plug_in(tmp_path, firmware=(5, 4, 3)))
    session.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)

    assert session.management_key_type is MANAGEMENT_KEY_TYPE.TDES
    assert status_of(lambda: session.protocol.send_apdu(0, 0xF6, 0xFF, 0x9A)) == 0x6D00


@given(
    apdus=st.lists(
        st.builds(
            lambda ins, p1, p2, data, le: bytes([0, ins, p1, p2, len(data)]) + data + le,
            st.sampled_from([0x20, 0x24, 0x2C, 0x47, 0x87, 0xCB, 0xDB, *range(0xF6, 0x100)]),
            st.sampled_from([0x00, 0x3F, 0x07, 0x11, 0x14, 0xE0, 0xE1, 0x0A, 0x9A, 0xFF]),
            st.sampled_from([0x00, 0x80, 0x81, 0x9A, 0x9B, 0x9C, 0xF9, 0xFF]),
            st.one_of(
                st.binary(min_size=1, max_size=16),
                st.sampled_from([b"123456\xff\xff", bytes.fromhex("AC03800111")]),
                st.lists(st.tuples(st.integers(1, 8), st.binary(max_size=8)), min_size=1, max_size=6).map(
                    lambda tlvs: b"".join(bytes([t, len(v)]) + v for t, v in tlvs)
                ),
                st.binary(max_size=8).map(lambda v: bytes([0x7C, len(v) + 4, 0x82, 0, 0x81, len(v)]) + v),
            ),
            st.sampled_from([b"", b"\0", b"\x08"]),
        ),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_answered(yubikeys: VirtualYubiKeys, apdus: list[bytes]) -> None:
    session = PivSession(yubikeys.open(SERIAL))
    if session.get_management_key_metadata().default_value:
        session.authenticate(DEFAULT_MANAGEMENT_KEY)

    for apdu in apdus:
        data, status = session.protocol.connection.send_and_receive(apdu)

        assert status >> 12 in (6, 9)
        assert not data or status == 0x9000 or status >> 8 == 0x61


# Keys


def test_a_generated_rsa_key_signs_and_decrypts(admin: PivSession) -> None:
    public_key = admin.generate_key(SLOT.KEY_MANAGEMENT, KEY_TYPE.RSA2048)
    admin.verify_pin(PIN)
    assert isinstance(public_key, rsa.RSAPublicKey)

    signature = admin.sign(SLOT.KEY_MANAGEMENT, KEY_TYPE.RSA2048, b"text", hashes.SHA256(), padding.PKCS1v15())
    secret = admin.decrypt(SLOT.KEY_MANAGEMENT, public_key.encrypt(b"secret", padding.PKCS1v15()), padding.PKCS1v15())

    public_key.verify(signature, b"text", padding.PKCS1v15(), hashes.SHA256())
    assert secret == b"secret"


@pytest.mark.parametrize("key_type", [KEY_TYPE.ECCP256, KEY_TYPE.ECCP384])
@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384()])
def test_a_generated_ec_key_signs_and_agrees(
    admin: PivSession, key_type: KEY_TYPE, digest: hashes.HashAlgorithm
) -> None:
    public_key = admin.generate_key(SLOT.AUTHENTICATION, key_type)
    admin.verify_pin(PIN)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    peer = ec.generate_private_key(public_key.curve)

    signature = admin.sign(SLOT.AUTHENTICATION, key_type, b"text", digest)
    secret = admin.calculate_secret(SLOT.AUTHENTICATION, peer.public_key())

    public_key.verify(signature, b"text", ec.ECDSA(digest))
    assert secret == peer.exchange(ec.ECDH(), public_key)


def test_a_generated_ed25519_key_signs(admin: PivSession) -> None:
    public_key = admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ED25519)
    admin.verify_pin(PIN)
    assert isinstance(public_key, ed25519.Ed25519PublicKey)

    public_key.verify(admin.sign(SLOT.AUTHENTICATION, KEY_TYPE.ED25519, b"text" * 100, None), b"text" * 100)


def test_a_generated_x25519_key_agrees(admin: PivSession) -> None:
    public_key = admin.generate_key(SLOT.KEY_MANAGEMENT, KEY_TYPE.X25519)
    admin.verify_pin(PIN)
    assert isinstance(public_key, x25519.X25519PublicKey)
    peer = x25519.X25519PrivateKey.generate()

    assert admin.calculate_secret(SLOT.KEY_MANAGEMENT, peer.public_key()) == peer.exchange(public_key)


@pytest.mark.parametrize(
    ("key_type", "make"),
    [
        (KEY_TYPE.RSA2048, lambda: rsa.generate_private_key(65537, 2048)),
        (KEY_TYPE.RSA3072, lambda: rsa.generate_private_key(65537, 3072)),
        (KEY_TYPE.ECCP256, lambda: ec.generate_private_key(P_256)),
        (KEY_TYPE.ECCP384, lambda: ec.generate_private_key(P_384)),
        (KEY_TYPE.ED25519, ed25519.Ed25519PrivateKey.generate),
        (KEY_TYPE.X25519, x25519.X25519PrivateKey.generate),
    ],
)
def test_an_imported_key_is_the_one_given(
    admin: PivSession, key_type: KEY_TYPE, make: Callable[[], PrivateKey]
) -> None:
    private_key = make()

    admin.put_key(SLOT.RETIRED1, private_key, PIN_POLICY.NEVER, TOUCH_POLICY.CACHED)

    metadata = admin.get_slot_metadata(SLOT.RETIRED1)
    assert metadata.key_type is key_type
    assert (metadata.pin_policy, metadata.touch_policy) == (PIN_POLICY.NEVER, TOUCH_POLICY.CACHED)
    assert not metadata.generated
    assert metadata.public_key == private_key.public_key()
    if key_type.algorithm.value == "ec" and key_type not in (KEY_TYPE.ED25519, KEY_TYPE.X25519):
        assert check_key(admin, SLOT.RETIRED1, private_key.public_key())


def test_ykman_makes_requests_and_certificates_with_it(admin: PivSession) -> None:
    public_key = admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    admin.verify_pin(PIN)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")])
    request = x509.CertificateSigningRequestBuilder(name)

    signed_request = sign_csr_builder(admin, SLOT.AUTHENTICATION, public_key, request)
    certificate = sign_certificate_builder(
        admin, SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, certificate_builder(public_key)
    )

    assert signed_request.is_signature_valid
    assert signed_request.public_key() == public_key
    certificate.verify_directly_issued_by(certificate)


def test_an_empty_slot_signs_nothing(admin: PivSession) -> None:
    admin.verify_pin(PIN)

    sign = lambda: admin.sign(  # noqa: E731 - asked for twice
        SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, b"text", hashes.SHA256()
    )
    assert status_of(sign) == WRONG_DATA


def test_a_key_is_moved_and_deleted(admin: PivSession) -> None:
    public_key = admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    admin.move_key(SLOT.AUTHENTICATION, SLOT.RETIRED20)
    assert admin.get_slot_metadata(SLOT.RETIRED20).public_key == public_key
    assert status_of(lambda: admin.get_slot_metadata(SLOT.AUTHENTICATION)) == NO_REFERENCE

    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    occupied = lambda: admin.move_key(SLOT.AUTHENTICATION, SLOT.RETIRED20)  # noqa: E731 - asked for twice
    assert status_of(occupied) == WRONG_DATA

    admin.delete_key(SLOT.RETIRED20)
    assert status_of(lambda: admin.get_slot_metadata(SLOT.RETIRED20)) == NO_REFERENCE


# Requirements of PIN and touch policies


def sign_with(session: PivSession, slot: SLOT) -> bytes:
    return session.sign(slot, KEY_TYPE.ECCP256, b"text", hashes.SHA256())


def test_a_policy_of_once_asks_for_the_pin_once(admin: PivSession) -> None:
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    assert admin.get_slot_metadata(SLOT.AUTHENTICATION).pin_policy is PIN_POLICY.ONCE
    assert status_of(lambda: sign_with(admin, SLOT.AUTHENTICATION)) == SECURITY_STATUS

    admin.verify_pin(PIN)

    assert sign_with(admin, SLOT.AUTHENTICATION)
    assert sign_with(admin, SLOT.AUTHENTICATION)


def test_a_policy_of_always_asks_for_the_pin_each_time(admin: PivSession) -> None:
    admin.generate_key(SLOT.SIGNATURE, KEY_TYPE.ECCP256)
    assert admin.get_slot_metadata(SLOT.SIGNATURE).pin_policy is PIN_POLICY.ALWAYS

    admin.verify_pin(PIN)
    assert sign_with(admin, SLOT.SIGNATURE)
    assert status_of(lambda: sign_with(admin, SLOT.SIGNATURE)) == SECURITY_STATUS
    admin.verify_pin(PIN)
    assert sign_with(admin, SLOT.SIGNATURE)


def test_a_policy_of_never_asks_for_no_pin(admin: PivSession) -> None:
    admin.generate_key(SLOT.CARD_AUTH, KEY_TYPE.ECCP256)

    assert admin.get_slot_metadata(SLOT.CARD_AUTH).pin_policy is PIN_POLICY.NEVER
    assert sign_with(admin, SLOT.CARD_AUTH)


# Attestation


def test_an_attestation_verifies_up_to_the_root(yubikeys: VirtualYubiKeys, admin: PivSession) -> None:
    root = yubikeys.attestation_root()
    device = admin.get_certificate(SLOT.ATTESTATION)
    public_key = admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, PIN_POLICY.ALWAYS, TOUCH_POLICY.CACHED)

    attestation = admin.attest_key(SLOT.AUTHENTICATION)

    attestation.verify_directly_issued_by(device)
    device.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert attestation.public_key() == public_key
    assert attestation.subject.rfc4514_string() == "CN=YubiKey PIV Attestation 9a"
    assert root.subject.rfc4514_string() == "CN=CIM Keys Virtual YubiKey Attestation Root"
    values = {
        extension.oid.dotted_string.removeprefix("1.3.6.1.4.1.41482."): extension.value.value
        for extension in attestation.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    assert values == {
        "3.3": bytes([5, 7, 4]),
        "3.7": b"\x02\x04" + SERIAL.to_bytes(4),
        "3.8": bytes([PIN_POLICY.ALWAYS, TOUCH_POLICY.CACHED]),
        "3.9": bytes([FORM_FACTOR.USB_A_KEYCHAIN]),
    }


@pytest.mark.parametrize("key_type", [KEY_TYPE.ECCP384, KEY_TYPE.ED25519, KEY_TYPE.X25519])
def test_every_kind_of_generated_key_is_attested(admin: PivSession, key_type: KEY_TYPE) -> None:
    public_key = admin.generate_key(SLOT.RETIRED20, key_type)

    attestation = admin.attest_key(SLOT.RETIRED20)

    attestation.verify_directly_issued_by(admin.get_certificate(SLOT.ATTESTATION))
    assert attestation.public_key() == public_key
    assert attestation.subject.rfc4514_string() == "CN=YubiKey PIV Attestation 95"


def test_an_imported_key_is_not_attested(admin: PivSession) -> None:
    admin.put_key(SLOT.AUTHENTICATION, ec.generate_private_key(P_256))

    assert status_of(lambda: admin.attest_key(SLOT.AUTHENTICATION)) == WRONG_DATA


def test_an_empty_slot_is_not_attested(session: PivSession) -> None:
    assert status_of(lambda: session.attest_key(SLOT.AUTHENTICATION)) == NO_FILE


def test_devices_of_one_directory_share_a_root_and_no_key(yubikeys: VirtualYubiKeys) -> None:
    first, second = (
        PivSession(yubikeys.open(serial)).get_certificate(SLOT.ATTESTATION) for serial in yubikeys.serials()
    )

    first.verify_directly_issued_by(yubikeys.attestation_root())
    second.verify_directly_issued_by(yubikeys.attestation_root())
    assert first.public_key() != second.public_key()


def test_a_holders_own_attestation_key_attests(admin: PivSession) -> None:
    own = ec.generate_private_key(P_384)
    admin.put_key(SLOT.ATTESTATION, own)
    admin.put_certificate(SLOT.ATTESTATION, certificate_for(own.public_key()))
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)

    admin.attest_key(SLOT.AUTHENTICATION).verify_directly_issued_by(admin.get_certificate(SLOT.ATTESTATION))


# Objects


@pytest.mark.parametrize("compress", [False, True])
def test_a_certificate_reads_back_as_it_was_written(admin: PivSession, *, compress: bool) -> None:
    certificate = certificate_for(ec.generate_private_key(P_256).public_key())

    admin.put_certificate(SLOT.AUTHENTICATION, certificate, compress)

    assert admin.get_certificate(SLOT.AUTHENTICATION) == certificate
    assert list_certificates(admin) == {SLOT.AUTHENTICATION: certificate}
    admin.delete_certificate(SLOT.AUTHENTICATION)
    assert list_certificates(admin) == {}


def test_chuid_and_ccc_read_back(admin: PivSession) -> None:
    chuid, ccc = generate_chuid(), generate_ccc()

    admin.put_object(OBJECT_ID.CHUID, chuid)
    admin.put_object(OBJECT_ID.CAPABILITY, ccc)

    assert admin.get_object(OBJECT_ID.CHUID) == chuid
    assert admin.get_object(OBJECT_ID.CAPABILITY) == ccc
    assert admin.get_object(OBJECT_ID.DISCOVERY)


@pytest.mark.parametrize("short", [False, True])
def test_a_large_object_goes_through_extended_or_chained_commands(admin: PivSession, *, short: bool) -> None:
    if short:
        admin.protocol = chained_protocol(admin)
    content = os.urandom(2500)

    admin.put_object(OBJECT_ID.RETIRED1, content)

    assert admin.get_object(OBJECT_ID.RETIRED1) == content


def chained_protocol(session: PivSession) -> SmartCardProtocol:
    protocol = SmartCardProtocol(session.protocol.connection)
    protocol.configure(session.version, force_short=True)
    return protocol


def test_no_response_is_longer_than_asked_for(admin: PivSession) -> None:
    admin.put_object(OBJECT_ID.RETIRED1, os.urandom(1000))
    send = admin.protocol.connection.send_and_receive
    get_data = bytes.fromhex("00CB3FFF055C035FC10D")

    first, status = send(get_data + b"\x10")
    second, then = send(bytes.fromhex("00C00000FF"))
    third, last = send(bytes.fromhex("00C00000000300"))
    whole = send(bytes.fromhex("00CB3FFF0000055C035FC10D0000"))

    assert [len(first), len(second), len(third)] == [0x10, 0xFF, 0x2DD]
    assert [status, then, last] == [0x6100, 0x6100, 0x9000]
    assert whole == (first + second + third, 0x9000)


def test_printed_information_is_read_with_the_pin_only(admin: PivSession) -> None:
    admin.put_object(OBJECT_ID.PRINTED, b"somebody")
    assert status_of(lambda: admin.get_object(OBJECT_ID.PRINTED)) == SECURITY_STATUS

    admin.verify_pin(PIN)

    assert admin.get_object(OBJECT_ID.PRINTED) == b"somebody"


# The PIN, the PUK and the management key


def test_a_wrong_pin_costs_a_try_and_three_block_it(admin: PivSession) -> None:
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    for left in (2, 1, 0):
        with pytest.raises(InvalidPinError) as error:
            admin.verify_pin("654321")
        assert error.value.attempts_remaining == left

    right = b"123456\xff\xff"
    assert status_of(lambda: admin.protocol.send_apdu(0, 0x20, 0, 0x80, right)) == BLOCKED
    assert admin.get_pin_attempts() == 0

    admin.unblock_pin(PUK, "112233")
    admin.verify_pin("112233")
    assert sign_with(admin, SLOT.AUTHENTICATION)
    assert not admin.get_pin_metadata().default_value


def test_a_right_pin_gives_the_tries_back(session: PivSession) -> None:
    with pytest.raises(InvalidPinError):
        session.verify_pin("654321")

    session.verify_pin(PIN)

    assert session.get_pin_attempts() == 3


def test_a_wrong_pin_takes_back_what_a_right_one_gave(admin: PivSession) -> None:
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    admin.verify_pin(PIN)
    with pytest.raises(InvalidPinError):
        admin.verify_pin("654321")

    assert status_of(lambda: sign_with(admin, SLOT.AUTHENTICATION)) == SECURITY_STATUS


def test_the_pin_and_the_puk_are_changed(session: PivSession) -> None:
    session.change_pin(PIN, "87654321")
    session.change_puk(PUK, "11223344")
    session.verify_pin("87654321")

    with pytest.raises(InvalidPinError):
        session.change_puk(PUK, "11111111")
    assert session.get_puk_metadata().attempts_remaining == 2


def test_a_pin_of_fewer_than_six_characters_is_refused(session: PivSession) -> None:
    assert status_of(lambda: session.change_pin(PIN, "12345")) == WRONG_DATA
    session.verify_pin(PIN)


def test_setting_the_tries_makes_the_pin_and_puk_default(admin: PivSession) -> None:
    admin.change_pin(PIN, "87654321")
    assert status_of(lambda: admin.set_pin_attempts(8, 4)) == SECURITY_STATUS
    admin.verify_pin("87654321")

    admin.set_pin_attempts(8, 4)

    assert admin.get_pin_metadata().total_attempts == 8
    assert admin.get_puk_metadata().total_attempts == 4
    admin.verify_pin(PIN)


def test_selecting_again_asks_for_the_pin_and_the_management_key_again(
    yubikeys: VirtualYubiKeys,
) -> None:
    admin = administer(yubikeys)
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    admin.verify_pin(PIN)

    again = PivSession(admin.protocol.connection)

    assert status_of(lambda: sign_with(again, SLOT.AUTHENTICATION)) == SECURITY_STATUS
    assert status_of(lambda: again.delete_key(SLOT.AUTHENTICATION)) == SECURITY_STATUS


def test_opening_is_a_power_cycle(yubikeys: VirtualYubiKeys) -> None:
    admin = administer(yubikeys)
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    admin.verify_pin(PIN)

    other = PivSession(yubikeys.open(SERIAL))

    assert status_of(lambda: sign_with(other, SLOT.AUTHENTICATION)) == SECURITY_STATUS


def test_only_the_management_key_administers(session: PivSession) -> None:
    key = ec.generate_private_key(P_256)
    refused: list[Callable[[], object]] = [
        lambda: session.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256),
        lambda: session.put_key(SLOT.AUTHENTICATION, key),
        lambda: session.put_object(OBJECT_ID.CHUID, b"x"),
        lambda: session.delete_key(SLOT.AUTHENTICATION),
        lambda: session.set_management_key(MANAGEMENT_KEY_TYPE.AES192, bytes(24)),
    ]

    assert {status_of(call) for call in refused} == {SECURITY_STATUS}


def test_a_wrong_management_key_is_refused(session: PivSession) -> None:
    assert status_of(lambda: session.authenticate(bytes(24))) == SECURITY_STATUS
    assert status_of(lambda: session.delete_key(SLOT.SIGNATURE)) == SECURITY_STATUS


@pytest.mark.parametrize("key_type", list(MANAGEMENT_KEY_TYPE))
def test_the_management_key_is_changed(
    yubikeys: VirtualYubiKeys, admin: PivSession, key_type: MANAGEMENT_KEY_TYPE
) -> None:
    new = os.urandom(key_type.key_len)

    admin.set_management_key(key_type, new, require_touch=True)

    session = PivSession(yubikeys.open(SERIAL))
    metadata = session.get_management_key_metadata()
    assert (metadata.key_type, metadata.default_value) == (key_type, False)
    assert metadata.touch_policy is TOUCH_POLICY.ALWAYS
    session.authenticate(new)
    session.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)


def test_a_challenge_is_forgotten_when_another_command_comes_first(session: PivSession) -> None:
    ask, answer = bytes.fromhex("7C028000"), bytes.fromhex("7C128010") + bytes(16)
    session.protocol.send_apdu(0, 0x87, 0x0A, 0x9B, ask)
    session.get_pin_metadata()

    assert status_of(lambda: session.protocol.send_apdu(0, 0x87, 0x0A, 0x9B, answer)) == (SECURITY_STATUS)


def test_the_management_key_can_be_kept_under_the_pin(admin: PivSession) -> None:
    new = os.urandom(32)
    admin.verify_pin(PIN)

    pivman_set_mgm_key(admin, new, MANAGEMENT_KEY_TYPE.AES256, store_on_device=True)

    assert get_pivman_protected_data(admin).key == new


def test_a_reset_needs_both_blocked_and_keeps_the_attestation_key(admin: PivSession) -> None:
    attesting = admin.get_certificate(SLOT.ATTESTATION)
    admin.set_management_key(MANAGEMENT_KEY_TYPE.AES128, bytes(16))
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    admin.put_object(OBJECT_ID.CHUID, generate_chuid())
    assert status_of(lambda: admin.protocol.send_apdu(0, 0xFB, 0, 0)) == 0x6985

    admin.reset()

    assert admin.get_pin_attempts() == 3
    assert status_of(lambda: admin.delete_key(SLOT.AUTHENTICATION)) == SECURITY_STATUS
    assert status_of(lambda: admin.get_slot_metadata(SLOT.AUTHENTICATION)) == NO_REFERENCE
    assert status_of(lambda: admin.get_object(OBJECT_ID.CHUID)) == NO_FILE
    admin.authenticate(DEFAULT_MANAGEMENT_KEY)
    admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    admin.attest_key(SLOT.AUTHENTICATION).verify_directly_issued_by(attesting)


# Persistence


def test_all_but_what_was_proved_survives_the_process(directory: Path) -> None:
    yubikeys = plug_in(directory)
    root, admin = yubikeys.attestation_root(), administer(yubikeys)
    public_key = admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, PIN_POLICY.ALWAYS)
    imported = ed25519.Ed25519PrivateKey.generate()
    admin.put_key(SLOT.RETIRED1, imported)
    certificate = certificate_for(ec.generate_private_key(P_256).public_key())
    admin.put_certificate(SLOT.AUTHENTICATION, certificate)
    admin.change_pin(PIN, "87654321")
    admin.set_management_key(MANAGEMENT_KEY_TYPE.AES256, bytes(32))
    admin.verify_pin("87654321")

    yubikeys = plug_in(directory, firmware=(5, 4, 3))
    session = PivSession(yubikeys.open(SERIAL))

    assert yubikeys.attestation_root() == root
    assert session.version == (5, 7, 4)
    metadata = session.get_slot_metadata(SLOT.AUTHENTICATION)
    assert metadata.public_key == public_key
    assert metadata.generated
    assert metadata.pin_policy is PIN_POLICY.ALWAYS
    assert session.get_slot_metadata(SLOT.RETIRED1).public_key == imported.public_key()
    assert session.get_certificate(SLOT.AUTHENTICATION) == certificate
    assert status_of(lambda: sign_with(session, SLOT.AUTHENTICATION)) == SECURITY_STATUS
    assert status_of(lambda: session.delete_key(SLOT.AUTHENTICATION)) == SECURITY_STATUS
    session.verify_pin("87654321")
    assert sign_with(session, SLOT.AUTHENTICATION)
    session.authenticate(bytes(32))


def test_a_wrong_pin_is_counted_even_if_the_process_dies_at_once(directory: Path) -> None:
    for left in (2, 1, 0):
        with pytest.raises(InvalidPinError) as error:
            PivSession(plug_in(directory).open(SERIAL)).verify_pin("654321")
        assert error.value.attempts_remaining == left


def test_a_write_that_was_cut_off_harms_nothing(directory: Path) -> None:
    directory.mkdir()
    (directory / f"device-{SERIAL}.tmp").write_bytes(b"half")

    administer(plug_in(directory)).generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    administer(plug_in(directory)).get_slot_metadata(SLOT.AUTHENTICATION)
    administer(plug_in(directory)).put_object(OBJECT_ID.CHUID, b"x")

    assert {path.suffix for path in directory.iterdir()} == {".sealed"}


def test_a_write_torn_in_the_middle_costs_that_write_only(directory: Path) -> None:
    session = administer(plug_in(directory))
    session.put_object(OBJECT_ID.CHUID, b"before")
    session.put_object(OBJECT_ID.CHUID, b"torn")
    newest = max(directory.glob(f"device-{SERIAL}.*"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1])

    assert PivSession(plug_in(directory).open(SERIAL)).get_object(OBJECT_ID.CHUID) == b"before"


def test_a_command_that_could_not_be_written_did_not_happen(directory: Path, admin: PivSession) -> None:
    (directory / f"device-{SERIAL}.other.sealed").mkdir()
    with pytest.raises(OSError, match="device"):
        admin.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)

    assert status_of(lambda: admin.get_slot_metadata(SLOT.AUTHENTICATION)) == NO_REFERENCE


def test_nothing_is_on_disk_before_it_is_needed(directory: Path) -> None:
    plug_in(directory).serials()

    assert not directory.exists()


def test_nothing_secret_is_on_disk_in_the_clear(directory: Path, admin: PivSession) -> None:
    private_key = ec.generate_private_key(P_256)
    admin.put_key(SLOT.AUTHENTICATION, private_key)
    admin.change_pin(PIN, "87654321")
    pkcs8 = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    point = private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secrets = [
        b"87654321",
        PUK.encode(),
        DEFAULT_MANAGEMENT_KEY,
        pkcs8,
        pkcs8[:27],  # what every P-256 key in PKCS #8 begins with
        private_key.private_numbers().private_value.to_bytes(32),
        point,
    ]

    contents = [path.read_bytes() for path in directory.iterdir()]

    assert len(contents) == 3  # the attestation root once, the device twice
    for secret in secrets:
        for form in (secret, secret.hex().encode(), secret.hex().upper().encode()):
            assert not any(form in content for content in contents)


def test_only_the_owner_reads_the_files(directory: Path, admin: PivSession) -> None:
    admin.put_object(OBJECT_ID.CHUID, b"x")

    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_a_wrong_sealing_key_is_refused_by_the_name_of_the_file(directory: Path) -> None:
    plug_in(directory).open(SERIAL)

    with pytest.raises(SealedFileError, match=f"device-{SERIAL}.sealed"):
        VirtualYubiKeys(directory, bytes(32), [SERIAL]).open(SERIAL)
    with pytest.raises(SealedFileError, match=r"attestation-root\.sealed"):
        VirtualYubiKeys(directory, bytes(32), [SERIAL]).attestation_root()
    with pytest.raises(ValueError, match="32 bytes"):
        VirtualYubiKeys(directory, b"short", [SERIAL])


def test_one_device_cannot_take_the_place_of_another(directory: Path, yubikeys: VirtualYubiKeys) -> None:
    yubikeys.open(SERIAL)
    device = directory / f"device-{SERIAL}.sealed"
    device.rename(directory / f"device-{OTHER_SERIAL}.sealed")

    with pytest.raises(SealedFileError, match=str(OTHER_SERIAL)):
        plug_in(directory).open(OTHER_SERIAL)
