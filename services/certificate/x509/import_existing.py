"""How a certificate that was issued elsewhere is taken over. Pure."""

from typing import assert_never

from services.certificate.policy.rules import IssuanceRequest, Policy
from services.certificate.profiles import PROFILES
from services.certificate.x509 import limits
from services.certificate.x509.effects import CertificateRead, Effect, ReadCertificate
from services.certificate.x509.states import Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate.commands import ImportCertificate
from shared.contracts.certificate.events import CertificateImported
from shared.contracts.certificate.value_types import Profile
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Perform, Rejection

Decision = CertificateImported | Rejection | AlreadyDone | Perform[Effect]


def take_over(policy: Policy, certificate: Certificate, command: ImportCertificate) -> Decision:
    match certificate:
        case Unborn() | Issued():
            if (command.issuer_id is None) is not (command.profile is Profile.ROOT):
                return limits.invalid("a root has no issuer_id, and everything else has one: import its issuer first")
            return Perform(ReadCertificate(command, policy.ml_dsa))
        case Created():
            return limits.conflict(f"{command.certificate_id} is another certificate already; import under a new id")
        case Revoked():
            return limits.conflict(f"{command.certificate_id} is revoked; an id is never used again, take a new one")
        case _:
            assert_never(certificate)


def taken_over(policy: Policy, certificate: Certificate, read: CertificateRead, context: Context) -> Decision:
    command = read.request
    if isinstance(certificate, Issued):
        if certificate.certificate_pem == read.certificate_pem and command.key_id in (None, certificate.key_id):
            return AlreadyDone()
        return limits.conflict(f"{command.certificate_id} is another certificate already; import under a new id")
    if read.known_as not in (None, command.certificate_id):
        return limits.conflict(f"this certificate is here already, as {read.known_as}: no two have one serial number")
    if isinstance(read.issuer, Unborn | Created):
        return limits.missing(command.issuer_id or "", " that is signed; import the issuer first")
    if context.at > read.not_after:
        return limits.conflict(f"it ended on {read.not_after.isoformat()}; what has ended is not taken over")
    days = max(1, (read.not_after - read.not_before).days)
    asked = IssuanceRequest(context.actor, command.profile, command.issuer_id, read.said.names, days)
    if (objection := policy.check_request(asked)) is not None:
        return Rejection(RejectionCode.NOT_ALLOWED, objection)
    for_issuer, rules = policy.for_issuer(command.issuer_id), PROFILES[command.profile]
    return CertificateImported(
        certificate_id=command.certificate_id,
        profile=command.profile,
        certificate_pem=read.certificate_pem,
        serial=read.serial,
        fingerprint_sha256=read.fingerprint_sha256,
        issuer_id=command.issuer_id,
        key_id=command.key_id,
        not_before=read.not_before,
        not_after=read.not_after,
        expiring_at=for_issuer.expiring_at(read.not_before, read.not_after),
        ocsp=for_issuer.ocsp and command.issuer_id is not None and not rules.ocsp_no_check,
    )
