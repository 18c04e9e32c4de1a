"""Decider of X.509 certificates and of the CRLs of their issuers. Pure: no clock, no randomness, no IO.

`decide` has one case for every command and every outcome; the cases are in `issuance`, `renewal`, `certificate_import`,
`lifecycle`, `queries` and the package `crl`.
"""

import base64
from dataclasses import replace
from functools import partial
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.crl import domain as crl_domain
from services.certificate.crl.effects import (
    CrlAssembled,
    CrlBuilt,
    CrlIssuer,
    CrlOutcome,
    CrlSignatureInvalid,
    RevocationsGathered,
)
from services.certificate.policy.rules import Policy
from services.certificate.verification.effects import PathChecked, PathNotChecked
from services.certificate.x509 import certificate_import, issuance, lifecycle, queries, renewal
from services.certificate.x509.effects import (
    CaCertificateRead,
    CertificateAssembled,
    CertificateDecision,
    CertificateRead,
    Effect,
    ExportRendered,
    IssuerFetched,
    Outcome,
    PredecessorFetched,
    RelatedFetched,
    RequestInvalid,
    SignatureInvalid,
    TbsBuilt,
)
from services.certificate.x509.rejections import conflict, invalid, not_found
from services.certificate.x509.states import STATE_VERSION, Certificate, Created, Issued, Revoked, Unborn
from shared.contracts.certificate import commands, events
from shared.decider import Context, Decider, Rejection


def decide(  # noqa: C901, PLR0912 - one case a command
    policy: Policy, certificate: Certificate, message: commands.CertificateCommand | Outcome, context: Context
) -> CertificateDecision:
    match message:
        case (
            commands.CheckIssuance()
            | commands.CreateCertificate()
            | commands.RenewCertificate()
            | commands.CrossCertify()
        ):
            return issuance.request_issuance(policy, certificate, message, context)
        case commands.ImportCertificate():
            return certificate_import.read_certificate(policy, certificate, message)
        case commands.SignCertificate():
            return issuance.sign(certificate, message)
        case commands.HoldCertificate():
            return lifecycle.hold(certificate, message, context)
        case commands.ReleaseCertificate():
            return lifecycle.release(certificate, message)
        case commands.SupersedeCertificate():
            return lifecycle.supersede(certificate, message)
        case commands.RevokeCertificate():
            return lifecycle.revoke(certificate, message, context)
        case commands.AnnounceExpiry():
            return lifecycle.announce_expiry(certificate, message, context)
        case commands.ExpireCertificate():
            return lifecycle.expire(certificate, message, context)
        case commands.ExportCertificate():
            return queries.export(certificate, message)
        case commands.VerifyCertificate():
            return queries.verify(certificate, message, context)
        case commands.CreateCrl() | commands.PublishCrl():
            return _decide_crl(certificate, message, context)
        case _:
            return _decide_on_outcome(policy, certificate, message, context)


def _decide_on_outcome(  # noqa: C901, PLR0912 - one case an outcome
    policy: Policy, certificate: Certificate, outcome: Outcome, context: Context
) -> CertificateDecision:
    match outcome:
        case IssuerFetched():
            return issuance.build_with_issuer(policy, outcome, context)
        case PredecessorFetched():
            return renewal.renew(policy, outcome, context)
        case CaCertificateRead():
            return renewal.cross_certify(policy, outcome, context)
        case TbsBuilt():
            return issuance.created_event(outcome)
        case RequestInvalid(reason=reason):
            return invalid(reason)
        case CertificateRead():
            return certificate_import.import_certificate(policy, certificate, outcome, context)
        case RelatedFetched(request=request, certificate=related):
            if isinstance(request, commands.SignCertificate):
                return issuance.sign_with_issuer(certificate, request, related, context)
            return lifecycle.supersede_with(certificate, request, related)
        case CertificateAssembled():
            return issuance.signed_event(policy, outcome)
        case SignatureInvalid(certificate_id=certificate_id):
            return invalid(
                f"the signature does not verify with the issuer's public key over the tbs of {certificate_id}"
            )
        case RevocationsGathered() | CrlBuilt() | CrlAssembled() | CrlSignatureInvalid():
            return _decide_crl(certificate, outcome, context)
        case PathChecked():
            return queries.verified_event(outcome)
        case PathNotChecked(code=code, problem=problem):
            return Rejection(code, problem)
        case ExportRendered(request=export, content=content):
            return events.CertificateExported(
                certificate_id=export.certificate_id, format=export.format, content=content
            )
        case _:
            assert_never(outcome)


def _decide_crl(
    certificate: Certificate, message: commands.CreateCrl | commands.PublishCrl | CrlOutcome, context: Context
) -> CertificateDecision:
    """Delegates to the CRL decider, with the facts about the issuer and the state of its CRLs."""
    issuer_id = context.aggregate_id
    match certificate:
        case Issued():
            issuer = CrlIssuer(
                certificate_id=issuer_id,
                certificate_pem=certificate.certificate_pem,
                profile=certificate.profile,
                key_id=certificate.key_id,
                not_after=certificate.not_after,
            )
            return crl_domain.decide(issuer, certificate.crl, message, context)
        case Revoked():
            return crl_domain.no_further_crl(issuer_id, "revoked")
        case Created():
            return conflict(f"{issuer_id} is not signed yet; sign it first")
        case Unborn():
            return not_found(issuer_id, " that could issue a CRL; create and sign it first")
        case _:
            assert_never(certificate)


def evolve(certificate: Certificate, event: events.CertificateEvent) -> Certificate:
    """Folds one event. Ignores one that `decide` cannot produce from this state."""
    match event:
        case events.CertificateCreated():
            return _on_created(event)
        case events.CertificateSigned():
            return _on_signed(certificate, event) if isinstance(certificate, Created) else certificate
        case events.CertificateImported():
            return _on_imported(event)
        case events.CertificateRevoked():
            return _on_revoked(certificate, event)
        case _:
            return _evolve_issued(certificate, event) if isinstance(certificate, Issued) else certificate


def _evolve_issued(certificate: Issued, event: events.CertificateEvent) -> Issued:
    match event:
        case events.CertificateHeld():
            return replace(certificate, held=True)
        case events.CertificateReleased():
            return replace(certificate, held=False)
        case events.CertificateSuperseded(successor_id=successor_id):
            return replace(certificate, superseded_by=successor_id)
        case events.CertificateExpiring():
            return replace(certificate, announced=True)
        case events.CertificateExpired():
            return replace(certificate, expired=True)
        case events.CrlCreated() | events.CrlPublished():
            return replace(certificate, crl=crl_domain.evolve(certificate.crl, event))
        case _:
            return certificate  # checks, exports and verifications change nothing


def _on_created(event: events.CertificateCreated) -> Created:
    return Created(
        tbs=base64.b64encode(event.tbs).decode(),
        profile=event.profile,
        signature_algorithm=event.signature_algorithm,
        issuer_id=event.issuer_id,
        issuer_public_key_pem=event.issuer_public_key_pem,
        serial=event.serial,
        key_id=event.key_id,
        signing_key_id=event.signing_key_id,
        not_before=event.not_before,
        not_after=event.not_after,
        predecessor_id=event.predecessor_id if isinstance(event, events.CertificateRenewed) else None,
    )


def _on_signed(created: Created, event: events.CertificateSigned) -> Issued:
    return Issued(
        profile=event.profile,
        certificate_pem=event.certificate_pem,
        serial=event.serial,
        issuer_id=event.issuer_id,
        key_id=created.key_id,
        signing_key_id=created.signing_key_id,
        not_before=event.not_before,
        not_after=event.not_after,
        expiring_at=event.expiring_at,
        renewal=event.renewal,
        ocsp=event.ocsp,
        predecessor_id=created.predecessor_id,
    )


def _on_imported(event: events.CertificateImported) -> Issued:
    return Issued(
        profile=event.profile,
        certificate_pem=event.certificate_pem,
        serial=event.serial,
        issuer_id=event.issuer_id,
        key_id=event.key_id,
        signing_key_id=None,
        not_before=event.not_before,
        not_after=event.not_after,
        expiring_at=event.expiring_at,
        ocsp=event.ocsp,
    )


def _on_revoked(certificate: Certificate, event: events.CertificateRevoked) -> Revoked:
    revoked = Revoked(
        serial=event.serial, existed=event.existed, reason=event.reason, invalidity_date=event.invalidity_date
    )
    match certificate:
        case Created() | Issued():
            revoked = replace(
                revoked,
                profile=certificate.profile,
                issuer_id=certificate.issuer_id,
                key_id=certificate.key_id,
                not_before=certificate.not_before,
                not_after=certificate.not_after,
            )
        case Unborn() | Revoked():
            pass
        case _:
            assert_never(certificate)
    if isinstance(certificate, Issued):
        pem, successor = certificate.certificate_pem, certificate.superseded_by
        return replace(revoked, certificate_pem=pem, ocsp=certificate.ocsp, superseded_by=successor)
    return revoked


def certificate_decider(
    policy: Policy,
) -> Decider[Certificate, commands.CertificateCommand, events.CertificateEvent, Effect, Outcome]:
    return Decider(
        Unborn(),
        partial(decide, policy),
        evolve,
        commands=get_args(commands.CertificateCommand),
        events=get_args(events.CertificateEvent),
        states=TypeAdapter(Annotated[Certificate, Field(discriminator="kind")]),
        state_version=STATE_VERSION,
        creation_commands=(commands.CreateCertificate, commands.RenewCertificate),
    )


CERTIFICATE = certificate_decider(Policy())
"""The decider without a policy: every request is allowed."""
