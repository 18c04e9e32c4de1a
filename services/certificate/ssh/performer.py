"""Performer of the SSH certificate decider's effects: encodes and assembles certificates.

The format is OpenSSH's PROTOCOL.certkeys, with the data types of RFC 4251, section 5. The effects only compute.
"""

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    load_pem_public_key,
    load_ssh_public_identity,
    load_ssh_public_key,
)

from services.certificate.public_keys import SigningKey, signature_algorithm
from services.certificate.signatures import verify
from services.certificate.ssh.effects import (
    AttachSshSignature,
    BuildSshTbs,
    SshCertificateAssembled,
    SshEffect,
    SshOutcome,
    SshRequestInvalid,
    SshSignatureInvalid,
    SshTbsBuilt,
)
from shared.contracts.certificate.ssh import CreateSshCertificate, SshCertificateKind, SshExtension
from shared.contracts.key.value_types import SignatureAlgorithm
from shared.errors import Poison

_NONCE_OCTETS = 32
_SERIAL_BITS = 63
_MIN_RSA_BITS = 2048
_TYPE_NUMBERS = {SshCertificateKind.USER: 1, SshCertificateKind.HOST: 2}
_SIGNATURE_NAMES = {  # RFC 8332, 3; RFC 5656, 3.1.2; RFC 8709, 6
    SignatureAlgorithm.RSA_PKCS1_SHA256: b"rsa-sha2-256",
    SignatureAlgorithm.ECDSA_SHA256: b"ecdsa-sha2-nistp256",
    SignatureAlgorithm.ECDSA_SHA384: b"ecdsa-sha2-nistp384",
    SignatureAlgorithm.ED25519: b"ssh-ed25519",
}


async def perform(effect: SshEffect) -> SshOutcome:
    match effect:
        case BuildSshTbs():
            try:
                return _build(effect)
            except ValueError as error:
                return SshRequestInvalid(str(error))
        case AttachSshSignature():
            return _attach(effect)
        case _:
            assert_never(effect)


def _build(effect: BuildSshTbs) -> SshTbsBuilt:
    request, serial = effect.request, secrets.randbits(_SERIAL_BITS) + 1
    key, ca_key = _subject_key(request.public_key), _ca_key(request.ca_public_key_pem)
    if key == ca_key:
        raise ValueError("public_key is the CA's own key; certify another one")
    key_type, fields = _split(_blob(key))
    tbs = b"".join(
        (
            _string(key_type + b"-cert-v01@openssh.com"),
            _string(secrets.token_bytes(_NONCE_OCTETS)),
            fields,
            serial.to_bytes(8),
            _TYPE_NUMBERS[request.kind].to_bytes(4),
            _string(request.key_identity.encode()),
            _string(b"".join(_string(principal.encode()) for principal in request.principals)),
            _seconds(effect.valid_after),
            _seconds(effect.valid_before),
            _string(_sorted_options(_critical_options(request))),
            _string(_sorted_options(dict.fromkeys(_extensions(request), b""))),
            _string(b""),  # reserved
            _string(_blob(ca_key)),
        )
    )
    return SshTbsBuilt(effect=effect, tbs=tbs, serial=serial, signature_algorithm=signature_algorithm(ca_key))


def _attach(effect: AttachSshSignature) -> SshCertificateAssembled | SshSignatureInvalid:
    created, tbs = effect.created, base64.b64decode(effect.created.tbs)
    try:
        verify(_ca_key(created.ca_public_key_pem), created.signature_algorithm, effect.signature, tbs)
    except InvalidSignature:
        return SshSignatureInvalid(effect.ssh_certificate_id)
    algorithm = created.signature_algorithm
    signature = _string(_SIGNATURE_NAMES[algorithm]) + _string(_ssh_signature(algorithm, effect.signature))
    key_type, _ = _split(tbs)
    line = key_type + b" " + base64.b64encode(tbs + _string(signature))
    if not _is_valid(line):
        raise Poison(f"the assembled SSH certificate {effect.ssh_certificate_id} does not parse or verify")
    return SshCertificateAssembled(effect, line.decode())


def _is_valid(line: bytes) -> bool:
    certificate = load_ssh_public_identity(line)
    if not isinstance(certificate, SSHCertificate):
        return False
    try:
        certificate.verify_cert_signature()
    except InvalidSignature:
        return False
    return True


def _ssh_signature(algorithm: SignatureAlgorithm, signature: bytes) -> bytes:
    """Re-encodes an ECDSA signature from DER as two mpints (RFC 5656, 3.1.2); other signatures stay as they are."""
    if algorithm in (SignatureAlgorithm.ECDSA_SHA256, SignatureAlgorithm.ECDSA_SHA384):
        return b"".join(_mpint(number) for number in decode_dss_signature(signature))
    return signature


def _subject_key(line: str) -> SigningKey:
    if "-cert-v01@" in line.split(" ", maxsplit=1)[0]:
        raise ValueError("public_key is a certificate: send the key that it certifies")
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("public_key is not a line of authorized_keys with an Ed25519, ECDSA or RSA key") from error
    return _require_supported(key, "public_key")


def _ca_key(pem: str) -> SigningKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("ca_public_key_pem is not a PEM public key") from error
    return _require_supported(key, "ca_public_key_pem")


def _require_supported(key: object, name: str) -> SigningKey:
    match key:
        case rsa.RSAPublicKey() if key.key_size >= _MIN_RSA_BITS:
            return key
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()) | ed25519.Ed25519PublicKey():
            return key
        case _:
            raise ValueError(f"{name} must be Ed25519, ECDSA on P-256 or P-384, or RSA of {_MIN_RSA_BITS} bits or more")


def _blob(key: SigningKey) -> bytes:
    return base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1])


def _critical_options(request: CreateSshCertificate) -> Mapping[str, bytes]:
    options = {}
    if request.force_command is not None:
        options["force-command"] = _string(request.force_command.encode())
    if request.source_addresses:
        options["source-address"] = _string(",".join(request.source_addresses).encode())
    return options


def _extensions(request: CreateSshCertificate) -> tuple[str, ...]:
    if request.kind is SshCertificateKind.HOST:
        return ()
    return tuple(SshExtension) if request.extensions is None else request.extensions


def _sorted_options(options: Mapping[str, bytes]) -> bytes:
    """Encodes options in the order of their names, each once (PROTOCOL.certkeys)."""
    return b"".join(_string(name.encode()) + _string(options[name]) for name in sorted(options))


def _string(octets: bytes) -> bytes:
    return len(octets).to_bytes(4) + octets


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1))


def _seconds(at: datetime) -> bytes:
    return int(at.timestamp()).to_bytes(8)


def _split(blob: bytes) -> tuple[bytes, bytes]:
    """Splits *blob* into its first string and the rest."""
    end = 4 + int.from_bytes(blob[:4])
    return blob[4:end], blob[end:]
