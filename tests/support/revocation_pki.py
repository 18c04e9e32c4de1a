"""A small PKI made with cryptography's builders, with its states and events of the service."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.certificate.x509.states import Issued
from shared.contracts.certificate.events import (
    CertificateCreated,
    CertificateHeld,
    CertificateReleased,
    CertificateRevoked,
    CertificateSigned,
)
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm
from shared.messages.ids import new_id
from tests.support.in_memory_ca import private_key, public_pem
from tests.support.scenario import NOON

DAY = timedelta(days=1)
_SERIALS = count(0x5EA1_0000_0000_0000_0001)


def sign_with(key, message):
    """Signs like the key service, with the algorithm of the key."""
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey(curve=ec.SECP384R1()):
            return key.sign(message, ec.ECDSA(hashes.SHA384()))
        case ec.EllipticCurvePrivateKey():
            return key.sign(message, ec.ECDSA(hashes.SHA256()))
        case _:
            return key.sign(message)


def _digest(key):
    match key:
        case rsa.RSAPrivateKey():
            return hashes.SHA256()
        case ec.EllipticCurvePrivateKey(curve=ec.SECP384R1()):
            return hashes.SHA384()
        case ec.EllipticCurvePrivateKey():
            return hashes.SHA256()
        case _:
            return None


@dataclass(frozen=True)
class Holder:
    """A certificate with its private key and its state in the service."""

    certificate_id: str
    key: object
    certificate: x509.Certificate
    state: Issued

    @property
    def pem(self):
        return self.state.certificate_pem

    @property
    def serial(self):
        return self.state.serial

    def issuance_events(self):
        """Returns the two events of its issuance."""
        tbs, state = self.certificate.tbs_certificate_bytes, self.state
        common = {
            "certificate_id": self.certificate_id,
            "profile": state.profile,
            "serial": state.serial,
            "issuer_id": state.issuer_id,
            "key_id": state.key_id,
            "not_before": state.not_before,
            "not_after": state.not_after,
        }
        created = CertificateCreated(
            **common,
            tbs=tbs,
            tbs_sha256=sha256(tbs).hexdigest(),
            signing_key_id=state.signing_key_id,
            signature_algorithm=SignatureAlgorithm.ECDSA_SHA256,
            issuer_public_key_pem=public_pem(self.key),
        )
        fingerprint = sha256(self.certificate.public_bytes(Encoding.DER)).hexdigest()
        return created, CertificateSigned(
            **common, certificate_pem=state.certificate_pem, fingerprint_sha256=fingerprint
        )

    def held(self):
        return CertificateHeld(
            certificate_id=self.certificate_id,
            issuer_id=self.state.issuer_id,
            serial=self.serial,
            not_after=self.state.not_after,
        )

    def released(self):
        return CertificateReleased(
            certificate_id=self.certificate_id, issuer_id=self.state.issuer_id, serial=self.serial
        )

    def revoked(self, reason=RevocationReason.UNSPECIFIED, **fields):
        told = {"issuer_id": self.state.issuer_id, "serial": self.serial, "not_after": self.state.not_after}
        return CertificateRevoked(certificate_id=self.certificate_id, reason=reason, **(told | fields))


def holder(profile, issuer=None, key=None, *, name=None, days=365, since=None, key_id=None):
    """Makes a certificate and its key; without *issuer* it is self-signed."""
    key = key or private_key(Algorithm.EC_P256, profile)
    signer = key if issuer is None else issuer.key
    since = since or NOON - 10 * DAY
    serial = next(_SERIALS)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or profile.replace("-", " "))])
    is_authority = profile in (Profile.ROOT, Profile.INTERMEDIATE)
    usages = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usages |= {"key_cert_sign": True, "crl_sign": True} if is_authority else {"digital_signature": True}
    issuer_key = signer.public_key()
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.certificate.subject if issuer else subject)
        .serial_number(serial)
        .public_key(key.public_key())
        .not_valid_before(since)
        .not_valid_after(since + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usages), critical=True)
    )
    if profile is Profile.OCSP_RESPONDER:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False
        ).add_extension(x509.OCSPNoCheck(), critical=False)
    certificate = builder.sign(signer, _digest(signer))
    key_id = key_id or str(new_id())
    state = Issued(
        profile=profile,
        certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
        serial=f"{serial:x}",
        issuer_id=issuer.certificate_id if issuer else None,
        key_id=key_id,
        signing_key_id=issuer.state.key_id if issuer else key_id,
        not_before=since,
        not_after=since + days * DAY,
    )
    return Holder(str(new_id()), key, certificate, state)


def ml_dsa_key():
    return mldsa.MLDSA65PrivateKey.generate()


def now():
    return datetime.now(UTC).replace(microsecond=0)
