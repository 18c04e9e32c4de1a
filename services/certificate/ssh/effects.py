"""Effects of the SSH certificate decider and their outcomes."""

from dataclasses import dataclass
from datetime import datetime

from services.certificate.ssh.states import Created
from shared.contracts.certificate.ssh import CreateSshCertificate
from shared.contracts.key.value_types import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class BuildSshTbs:
    request: CreateSshCertificate
    valid_after: datetime
    valid_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTbsBuilt:
    effect: BuildSshTbs
    tbs: bytes
    serial: int
    signature_algorithm: SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class SshRequestInvalid:
    reason: str


@dataclass(frozen=True, slots=True)
class AttachSshSignature:
    ssh_certificate_id: str
    created: Created
    signature: bytes


@dataclass(frozen=True, slots=True)
class SshCertificateAssembled:
    """The signed certificate: one line in OpenSSH's public key format."""

    effect: AttachSshSignature
    certificate: str


@dataclass(frozen=True, slots=True)
class SshSignatureInvalid:
    ssh_certificate_id: str


SshEffect = BuildSshTbs | AttachSshSignature
SshOutcome = SshTbsBuilt | SshRequestInvalid | SshCertificateAssembled | SshSignatureInvalid
