"""Parser of TBSCertificate and TBSCertList (RFC 5280, 4.1 and 5.1).

It wraps a message into a certificate or CRL with an empty signature and parses that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.contracts.key.value_types import SignatureAlgorithm
from shared.der import bit_string, sequence

ALGORITHM_IDENTIFIERS = {
    # The DER of each AlgorithmIdentifier: RFC 4055, 5 (its NULL is required); RFC 5758, 3.2; RFC 8410, 3; RFC 9881, 2
    SignatureAlgorithm.RSA_PKCS1_SHA256: bytes.fromhex("300d06092a864886f70d01010b0500"),
    SignatureAlgorithm.RSA_PKCS1_SHA384: bytes.fromhex("300d06092a864886f70d01010c0500"),
    SignatureAlgorithm.ECDSA_SHA256: bytes.fromhex("300a06082a8648ce3d040302"),
    SignatureAlgorithm.ECDSA_SHA384: bytes.fromhex("300a06082a8648ce3d040303"),
    SignatureAlgorithm.ED25519: bytes.fromhex("300506032b6570"),
    SignatureAlgorithm.ML_DSA_65: bytes.fromhex("300b0609608648016503040312"),
}
PARSE_ERRORS = (
    ValueError,
    TypeError,  # a name with an attribute of a wrong string type
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_MAX_SERIAL_OCTETS = 20
_MAX_REASON_LENGTH = 400
_VERSION_3 = bytes.fromhex("a003020102")
_SEQUENCE, _INTEGER, _OID, _VERSION, _TIMES = 0x30, 0x02, 0x06, 0xA0, (0x17, 0x18)
_INDEFINITE = 0x80
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class NotSignableError(ValueError):
    """A message that a key of this purpose must not sign. Its text is printable and of bounded length."""

    def __init__(self, reason: str) -> None:
        """Takes a *reason* that may quote the message, which is untrusted."""
        plain = "".join(character if character.isprintable() else "?" for character in reason[:_MAX_REASON_LENGTH])
        super().__init__(plain)


class _IndefiniteLengthError(Exception):
    """An element of indefinite length, which DER forbids (X.690, 8.1.3.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TbsCertificate:
    """A parsed TBSCertificate. *issuer* and *subject* are DER, because names are compared octet for octet."""

    issuer: bytes
    subject: bytes
    subject_name: x509.Name
    public_key: CertificatePublicKeyTypes
    not_before: datetime
    not_after: datetime
    extensions: tuple[x509.Extension[Any], ...]

    def extension(self, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
        for extension in self.extensions:
            if type(extension.value) is kind:
                return extension
        return None

    def spki(self) -> bytes:
        """Returns the canonical SubjectPublicKeyInfo of the key, however this certificate encodes it."""
        return self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class TbsCertList:
    """A parsed TBSCertList with its entries; *issuer* is DER."""

    issuer: bytes
    extensions: tuple[x509.Extension[Any], ...]
    crl: x509.CertificateRevocationList

    def extension(self, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
        for extension in self.extensions:
            if type(extension.value) is kind:
                return extension
        return None


def read(message: bytes, algorithm: SignatureAlgorithm) -> TbsCertificate | TbsCertList:
    """Parses a message that is exactly one TBSCertificate or TBSCertList, with *algorithm* inside."""
    finished = sequence(message, ALGORITHM_IDENTIFIERS[algorithm], bit_string(b""))
    try:
        certificate = x509.load_der_x509_certificate(finished)
    except PARSE_ERRORS as no_certificate:
        try:
            revocations = x509.load_der_x509_crl(finished)
        except PARSE_ERRORS as no_crl:
            raise NotSignableError(
                f"no TBSCertificate: {describe_error(no_certificate)}; no TBSCertList: {describe_error(no_crl)}"
            ) from None
        return _whole_crl(revocations, message)
    return _whole_certificate(certificate, message, algorithm)


def split_certificate(certificate: x509.Certificate, tbs: bytes) -> TbsCertificate:
    """Extracts the fields of a certificate of version 3 from its TBSCertificate *tbs*, and so parses all of it.

    The issuer's name is not parsed: it must equal the subject of a CA certificate, octet for octet.
    """
    if certificate.version is not x509.Version.v3:
        raise NotSignableError("the TBSCertificate is not of version 3")
    try:
        at = _content_of(tbs, 0)
        parts = []
        for _ in range(6):  # version, serialNumber, signature, issuer, validity, subject
            end = _end_of(tbs, at)
            parts.append(tbs[at:end])
            at = end
        return TbsCertificate(
            issuer=parts[3],
            subject=parts[5],
            subject_name=certificate.subject,
            public_key=certificate.public_key(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            extensions=tuple(certificate.extensions),
        )
    except PARSE_ERRORS as error:
        raise NotSignableError(f"the TBSCertificate does not parse: {describe_error(error)}") from None


def resembles_tbs(message: bytes) -> bool:
    """Tells whether a parser, even a lenient one, could take *message* for a TBSCertificate or TBSCertList.

    Both begin, after an optional version and number, with an AlgorithmIdentifier, a Name, and a validity or a time.
    Neither a certification request nor CMS signed attributes do.
    """
    try:
        if message[0] != _SEQUENCE:
            return False
        at = _content_of(message, 0)
        for optional in (_VERSION, _INTEGER):
            if message[at] == optional:
                at = _end_of(message, at)
        if message[at] != _SEQUENCE or message[_content_of(message, at)] != _OID:
            return False
        name = _end_of(message, at)
        return message[name] == _SEQUENCE and message[_end_of(message, name)] in (_SEQUENCE, *_TIMES)
    except IndexError:  # it is truncated
        return False
    except _IndefiniteLengthError:  # BER, which no legitimate client sends
        return True


def _whole_certificate(certificate: x509.Certificate, message: bytes, algorithm: SignatureAlgorithm) -> TbsCertificate:
    encoded = certificate.tbs_certificate_bytes
    tbs = split_certificate(certificate, encoded)
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, signed=True)
    if serial <= 0 or len(octets) > _MAX_SERIAL_OCTETS:
        raise NotSignableError("the serial number must be positive and of at most 20 octets (RFC 5280, 4.1.2.2)")
    # cryptography does not compare the inner AlgorithmIdentifier with the outer one. In DER of version 3 all octets
    # before it are known here: version and serial number (RFC 5280, 4.1).
    beginning = _VERSION_3 + bytes([0x02, len(octets)]) + octets + ALGORITHM_IDENTIFIERS[algorithm]
    if not message.startswith(beginning, _content_of(message, 0)):
        raise NotSignableError(f"the TBSCertificate names another signature algorithm inside, not {algorithm}")
    if encoded != message:
        raise NotSignableError("there is more than one TBSCertificate")
    return tbs


def _whole_crl(crl: x509.CertificateRevocationList, message: bytes) -> TbsCertList:
    """Converts a CRL; cryptography has compared its inner AlgorithmIdentifier with the outer one."""
    try:
        at = _content_of(message, 0)
        if message[at] == _INTEGER:  # the version
            at = _end_of(message, at)
        name = _end_of(message, at)  # after the AlgorithmIdentifier
        tbs = TbsCertList(message[name : _end_of(message, name)], tuple(crl.extensions), crl)
        is_whole = crl.tbs_certlist_bytes == message
        _ = crl.last_update_utc, [entry.extensions for entry in crl]
    except PARSE_ERRORS as error:
        raise NotSignableError(f"the TBSCertList does not parse: {describe_error(error)}") from None
    if not is_whole:
        raise NotSignableError("there is more than one TBSCertList")
    return tbs


def _content_of(encoded: bytes, at: int) -> int:
    """Returns where the content of the element at *at* begins (X.690, 8.1.3); its tag has one octet."""
    length = encoded[at + 1]
    return at + 2 + (length & 0x7F if length & 0x80 else 0)


def _end_of(encoded: bytes, at: int) -> int:
    """Returns where the element at *at* ends."""
    length, content = encoded[at + 1], _content_of(encoded, at)
    if length == _INDEFINITE:
        raise _IndefiniteLengthError
    return content + (int.from_bytes(encoded[at + 2 : content]) if length & 0x80 else length)


def describe_error(error: Exception) -> str:
    """Returns the parser's message, without its internal details."""
    return "it is cut off, or no DER" if "ParseError" in str(error) else str(error)
