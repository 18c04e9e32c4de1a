"""Decider of SSH certificates: create, sign, revoke. Pure: no clock, no randomness, no IO."""

import base64
from datetime import timedelta
from functools import partial
from hashlib import sha256
from ipaddress import ip_network
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter

from services.certificate.policy.rules import SshRule, check_ssh_request
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
from services.certificate.ssh.states import Created, Issued, Revoked, SshCertificate, Unborn
from shared.contracts.certificate.ssh import (
    CreateSshCertificate,
    RevokeSshCertificate,
    SignSshCertificate,
    SshCertificateCommand,
    SshCertificateCreated,
    SshCertificateEvent,
    SshCertificateKind,
    SshCertificateRevoked,
    SshCertificateSigned,
)
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Context, Decider, Perform, Rejection

BACKDATED = timedelta(minutes=5)
"""The validity begins this long before the request, so that servers with slow clocks accept the certificate at once."""

SshDecision = SshCertificateEvent | Rejection | AlreadyDone | Perform[SshEffect]


def decide(
    rules: tuple[SshRule, ...],
    certificate: SshCertificate,
    message: SshCertificateCommand | SshOutcome,
    context: Context,
) -> SshDecision:
    match message:
        case CreateSshCertificate():
            return _create(rules, certificate, message, context)
        case SshTbsBuilt():
            return _created_event(message)
        case SshRequestInvalid(reason=reason):
            return Rejection(RejectionCode.INVALID, reason)
        case SignSshCertificate():
            return _sign(certificate, message)
        case SshCertificateAssembled():
            return _signed_event(message)
        case SshSignatureInvalid(ssh_certificate_id=ssh_certificate_id):
            problem = f"the signature does not verify with ca_public_key_pem over the tbs of {ssh_certificate_id}"
            return Rejection(RejectionCode.INVALID, problem)
        case RevokeSshCertificate():
            return _revoke(certificate, message)
        case _:
            assert_never(message)


def evolve(certificate: SshCertificate, event: SshCertificateEvent) -> SshCertificate:
    match event:
        case SshCertificateCreated():
            return Created(
                certificate_kind=event.kind,
                tbs=base64.b64encode(event.tbs).decode(),
                serial=event.serial,
                signing_key_id=event.signing_key_id,
                signature_algorithm=event.signature_algorithm,
                ca_public_key_pem=event.ca_public_key_pem,
                key_identity=event.key_identity,
                principals=event.principals,
                valid_after=event.valid_after,
                valid_before=event.valid_before,
            )
        case SshCertificateSigned():
            return Issued(event.serial, certificate.signing_key_id) if isinstance(certificate, Created) else certificate
        case SshCertificateRevoked():
            return Revoked(event.serial, event.existed)
        case _:
            assert_never(event)


def _create(
    rules: tuple[SshRule, ...], certificate: SshCertificate, request: CreateSshCertificate, context: Context
) -> SshDecision:
    match certificate:
        case Unborn():
            if (denied := check_ssh_request(rules, context.actor, request)) is not None:
                return Rejection(RejectionCode.NOT_ALLOWED, denied)
            if (problem := _invalid_field(request)) is not None:
                return Rejection(RejectionCode.INVALID, problem)
            now = context.at.replace(microsecond=0)
            return Perform(BuildSshTbs(request, now - BACKDATED, now + timedelta(minutes=request.validity_minutes)))
        case Created() | Issued() if certificate.signing_key_id == request.signing_key_id:
            return AlreadyDone()
        case Created() | Issued() | Revoked():
            problem = f"{request.ssh_certificate_id} is another certificate already; use a new ssh_certificate_id"
            return Rejection(RejectionCode.CONFLICT, problem)
        case _:
            assert_never(certificate)


def _invalid_field(request: CreateSshCertificate) -> str | None:
    """Describes the first field that PROTOCOL.certkeys or sshd would reject, or returns None."""
    if request.kind is SshCertificateKind.HOST:
        if request.extensions or request.force_command or request.source_addresses:
            return "a host's certificate has no extensions, no force_command and no source_addresses"
        if any("@" in principal for principal in request.principals):
            return "the principals of a host are host names, without an @"
    elif any("*" in principal for principal in request.principals):
        return "the principals of a user are account names, without a wildcard"
    for address in request.source_addresses:
        try:
            ip_network(address)
        except ValueError:
            return f"{address} in source_addresses is not a network in CIDR notation, like 192.0.2.0/24"
    return None


def _created_event(built: SshTbsBuilt) -> SshCertificateCreated:
    effect, request = built.effect, built.effect.request
    return SshCertificateCreated(
        ssh_certificate_id=request.ssh_certificate_id,
        kind=request.kind,
        tbs=built.tbs,
        tbs_sha256=sha256(built.tbs).hexdigest(),
        serial=str(built.serial),
        signing_key_id=request.signing_key_id,
        signature_algorithm=built.signature_algorithm,
        ca_public_key_pem=request.ca_public_key_pem,
        key_identity=request.key_identity,
        principals=request.principals,
        valid_after=effect.valid_after,
        valid_before=effect.valid_before,
    )


def _sign(certificate: SshCertificate, command: SignSshCertificate) -> SshDecision:
    match certificate:
        case Unborn():
            problem = f"there is no SSH certificate {command.ssh_certificate_id} to sign; create it first"
            return Rejection(RejectionCode.NOT_FOUND, problem)
        case Created():
            return Perform(AttachSshSignature(command.ssh_certificate_id, certificate, command.signature))
        case Issued():
            return AlreadyDone()
        case Revoked():
            problem = f"{command.ssh_certificate_id} is revoked; create another under a new id"
            return Rejection(RejectionCode.CONFLICT, problem)
        case _:
            assert_never(certificate)


def _signed_event(assembled: SshCertificateAssembled) -> SshCertificateSigned:
    created = assembled.effect.created
    return SshCertificateSigned(
        ssh_certificate_id=assembled.effect.ssh_certificate_id,
        kind=created.certificate_kind,
        certificate=assembled.certificate,
        serial=created.serial,
        key_identity=created.key_identity,
        principals=created.principals,
        valid_after=created.valid_after,
        valid_before=created.valid_before,
    )


def _revoke(certificate: SshCertificate, command: RevokeSshCertificate) -> SshDecision:
    match certificate:
        case Unborn() if command.void_if_absent:
            return _revoked_event(command, None, existed=False)
        case Unborn():
            problem = f"there is no SSH certificate {command.ssh_certificate_id}"
            return Rejection(
                RejectionCode.NOT_FOUND, f"{problem}; set void_if_absent to make sure that it is never created"
            )
        case Created(serial=serial) | Issued(serial=serial):
            return _revoked_event(command, serial, existed=True)
        case Revoked():
            return AlreadyDone()
        case _:
            assert_never(certificate)


def _revoked_event(command: RevokeSshCertificate, serial: str | None, *, existed: bool) -> SshCertificateRevoked:
    return SshCertificateRevoked(
        ssh_certificate_id=command.ssh_certificate_id, reason=command.reason, serial=serial, existed=existed
    )


def ssh_certificate_decider(
    rules: tuple[SshRule, ...] = (),
) -> Decider[SshCertificate, SshCertificateCommand, SshCertificateEvent, SshEffect, SshOutcome]:
    return Decider(
        Unborn(),
        partial(decide, rules),
        evolve,
        commands=get_args(SshCertificateCommand),
        events=get_args(SshCertificateEvent),
        states=TypeAdapter(Annotated[SshCertificate, Field(discriminator="kind")]),
        creation_commands=(CreateSshCertificate,),
    )


SSH_CERTIFICATE = ssh_certificate_decider()
"""The decider without a policy: every request is allowed."""
