"""Attestation: the virtual root, the F9 certificate of each device, and the statements that F9 signs.

Statements have Yubico's format ("PIV attestation" and "OID arc" in its documentation). Root and devices have names of
their own, so that a virtual key cannot be taken for a hardware key.
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
# "No well-defined expiration date" (RFC 5280, 4.1.2.5), as on Yubico's certificates since 5.7.4.
NO_EXPIRATION = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
YUBICO_PIV_ARC = "1.3.6.1.4.1.41482.3"
FIRMWARE, SERIAL, POLICIES, FORM = (f"{YUBICO_PIV_ARC}.{number}" for number in (3, 7, 8, 9))

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey


class Attester(NamedTuple):
    """An attestation key and its certificate."""

    key: PrivateKey
    certificate: x509.Certificate


def create_root() -> Attester:
    """Creates the attestation root of the devices of one directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = _name(ROOT_NAME), datetime.now(UTC).replace(microsecond=0)
    builder = _ca_extensions(_builder(name, name, key.public_key(), now, NO_EXPIRATION), key, path_length=1)
    return Attester(key, builder.sign(key, hashes.SHA256()))


def create_device_attester(root: Attester, serial: int) -> Attester:
    """Creates the factory key and certificate of slot F9."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = _name(f"{DEVICE_NAME} {serial}"), datetime.now(UTC).replace(microsecond=0)
    builder = _builder(root.certificate.subject, name, key.public_key(), now, NO_EXPIRATION)
    builder = _ca_extensions(builder, key, path_length=0)
    builder = builder.add_extension(_authority_key_identifier(root), critical=False)
    return Attester(key, _sign(builder, root.key))


def attest(attester: Attester, device: Device, slot: int, key: SlotKey) -> x509.Certificate:
    """Attests that the device generated the slot's key, and with which policies."""
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


def _ca_extensions(
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
    except x509.ExtensionNotFound:  # F9 may have been overwritten with a certificate of another CA
        identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    match key:
        case ed25519.Ed25519PrivateKey():
            return builder.sign(key, None)
        case x25519.X25519PrivateKey():
            raise TypeError("an X25519 key cannot sign, and the card does not accept one in F9")
        case _:
            return builder.sign(key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def to_json(attester: Attester) -> bytes:
    """Serialises a key and its certificate. The caller seals it."""
    certificate = attester.certificate.public_bytes(Encoding.DER)
    return json.dumps([to_pkcs8(attester.key).hex(), certificate.hex()]).encode()


def from_json(content: bytes) -> Attester:
    """Reads a key and a certificate that `to_json` wrote."""
    key, certificate = map(bytes.fromhex, json.loads(content))
    return Attester(from_pkcs8(key), x509.load_der_x509_certificate(certificate))
