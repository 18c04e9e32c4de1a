"""Commands and events of SSH certificates (OpenSSH PROTOCOL.certkeys).

The flow is that of X.509 certificates: build, sign with a key in custody, attach the signature.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from shared.contracts.base import DERIVED, Base64, Command, Event, Fingerprint, Id, Message, Pem, Text
from shared.contracts.key.value_types import SignatureAlgorithm


class SshCertificateKind(StrEnum):
    USER = "user"
    HOST = "host"


class SshExtension(StrEnum):
    """Permissions of a user certificate."""

    PERMIT_X11_FORWARDING = "permit-X11-forwarding"
    PERMIT_AGENT_FORWARDING = "permit-agent-forwarding"
    PERMIT_PORT_FORWARDING = "permit-port-forwarding"
    PERMIT_PTY = "permit-pty"
    PERMIT_USER_RC = "permit-user-rc"


Principal = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._@:*-]+$")]
SshLine = Annotated[str, StringConstraints(min_length=16, max_length=16_384, pattern=r"^[!-~]+ [A-Za-z0-9+/=]+( .*)?$")]


class SshCertificateMessage(Message):
    aggregate_type: ClassVar[str] = "ssh-certificate"
    identified_by: ClassVar[str] = "ssh_certificate_id"
    service: ClassVar[str] = "certificate"


class CreateSshCertificate(SshCertificateMessage, Command):
    ssh_certificate_id: Id = DERIVED
    kind: SshCertificateKind
    public_key: SshLine = Field(description="the key to certify, as a line of authorized_keys")
    key_identity: Text = Field(description="key id in the log of sshd")
    principals: Annotated[tuple[Principal, ...], Field(min_length=1, max_length=256)]
    validity_minutes: int = Field(ge=1, le=5_270_400)
    signing_key_id: Id
    ca_public_key_pem: Pem = Field(description="of signing_key_id; verifies the signature")
    force_command: Text | None = None
    source_addresses: Annotated[tuple[Text, ...], Field(max_length=64)] = Field(default=(), description="CIDR")
    extensions: Annotated[tuple[SshExtension, ...], Field(max_length=8)] | None = Field(
        default=None, description="default: all, for a user; a host certificate has none"
    )


class SignSshCertificate(SshCertificateMessage, Command):
    ssh_certificate_id: Id
    signature: Base64 = Field(min_length=1, max_length=4096)


class RevokeSshCertificate(SshCertificateMessage, Command):
    ssh_certificate_id: Id
    reason: Text = "unspecified"
    void_if_absent: bool = False


class SshCertificateCreated(SshCertificateMessage, Event):
    ssh_certificate_id: Id
    kind: SshCertificateKind
    tbs: Base64 = Field(description="the certificate without its signature: the bytes to sign")
    tbs_sha256: Fingerprint
    serial: str = Field(pattern=r"^[0-9]{1,20}$", description="64 bits, decimal")
    signing_key_id: Id
    signature_algorithm: SignatureAlgorithm
    ca_public_key_pem: Pem
    key_identity: Text
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime


class SshCertificateSigned(SshCertificateMessage, Event):
    ssh_certificate_id: Id
    kind: SshCertificateKind
    certificate: SshLine = Field(description="a line for id_….pub-cert or HostCertificate")
    serial: str
    key_identity: Text
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime


class SshCertificateRevoked(SshCertificateMessage, Event):
    ssh_certificate_id: Id
    reason: Text
    serial: str | None = None
    existed: bool = True


SshCertificateCommand = CreateSshCertificate | SignSshCertificate | RevokeSshCertificate
SshCertificateEvent = SshCertificateCreated | SshCertificateSigned | SshCertificateRevoked
