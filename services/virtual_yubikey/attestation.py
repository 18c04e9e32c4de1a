"""Attestation: the virtual root, each device's F9 certificate, and the statements F9 signs.

The shape of the statements is Yubico's, described under "PIV attestation" and "OID arc"; the names
of the root and of the devices are ours, so that nobody takes a virtual key for hardware.
"""

import json
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services.virtual_yubikey.iso7816 import tlv
from services.virtual_yubikey.piv_keys import PrivateKey, from_pkcs8, to_pkcs8
from services.virtual_yubikey.state import FORM_FACTOR, Device, SlotKey

ROOT_NAME = "CIM Keys Virtual YubiKey Attestation Root"
DEVICE_NAME = "CIM Keys Virtual YubiKey Attestation"
STATEMENT_NAME = "YubiKey PIV Attestation"
# The time that means "no end" (RFC 5280, 4.1.2.5), as on Yubico's certificates since 5.7.4.
NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
YUBICO_PIV_ARC = "1.3.6.1.4.1.41482.3"
FIRMWARE, SERIAL, POLICIES, FORM = (f"{YUBICO_PIV_ARC}.{number}" for number in (3, 7, 8, 9))

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey


class Attester(NamedTuple):
    """A key that attests and its certificate."""

    key: PrivateKey
    certificate: x509.Certificate


def create_root() -> Attester:
    """Make the root under which the virtual devices of one directory are born."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = _name(ROOT_NAME), datetime.now(UTC).replace(microsecond=0)
    builder = _authority(_builder(name, name, key.public_key(), now, NO_END), key, path_length=1)
    return Attester(key, builder.sign(key, hashes.SHA256()))


def create_device_attester(root: Attester, serial: int) -> Attester:
    """Make the key and certificate that a device has in F9 when it is new."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = _name(f"{DEVICE_NAME} {serial}"), datetime.now(UTC).replace(microsecond=0)
    builder = _builder(root.certificate.subject, name, key.public_key(), now, NO_END)
    builder = _authority(builder, key, path_length=0)
    builder = builder.add_extension(_authority_key_identifier(root), critical=False)
    return Attester(key, _sign(builder, root.key))


def attest(attester: Attester, device: Device, slot: int, key: SlotKey) -> x509.Certificate:
    """Say of a slot's key that this device generated it, and what its use asks for."""
    certificate = attester.certificate
    public_key = key.private_key.public_key()
    builder = _builder(
        certificate.subject,
        _name(f"{STATEMENT_NAME} {slot:02x}"),
        public_key,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    serial = device.serial.to_bytes(device.serial.bit_length() // 8 + 1)
    values = {
        FIRMWARE: bytes(device.firmware),
        SERIAL: tlv(0x02, serial),
        POLICIES: bytes([key.pin_policy, key.touch_policy]),
        FORM: bytes([FORM_FACTOR]),
    }
    for oid, value in values.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    builder = builder.add_extension(_authority_key_identifier(attester), critical=False)
    return _sign(builder, attester.key)


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    public_key: PublicKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _authority(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, path_length: int
) -> x509.CertificateBuilder:
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        builder.add_extension(constraints, critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True)
        .add_extension(identifier, critical=False)
    )


def _authority_key_identifier(issuer: Attester) -> x509.AuthorityKeyIdentifier:
    extensions = issuer.certificate.extensions
    try:
        identifier = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:  # the holder may have put a certificate of another make in F9
        identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    match key:
        case ed25519.Ed25519PrivateKey():
            return builder.sign(key, None)
        case x25519.X25519PrivateKey():
            raise TypeError("an X25519 key signs nothing, and the card lets none into F9")
        case _:
            return builder.sign(key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def to_json(attester: Attester) -> bytes:
    """Write a key and its certificate, to be sealed at once."""
    certificate = attester.certificate.public_bytes(Encoding.DER)
    return json.dumps([to_pkcs8(attester.key).hex(), certificate.hex()]).encode()


def from_json(content: bytes) -> Attester:
    """Read a key and its certificate that were written by *to_json*."""
    key, certificate = map(bytes.fromhex, json.loads(content))
    return Attester(from_pkcs8(key), x509.load_der_x509_certificate(certificate))
