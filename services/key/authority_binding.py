"""When a key is told for which certificate it signs: for those whose issuer's key is elsewhere (docs/adr/0012)."""

from __future__ import annotations

from typing import assert_never

from services.key.effects import Answer, AuthorityNoted, BindCertificate, NotAnAuthority
from services.key.states import Active, Destroyed, Escrowed, Key, Revoked, Unborn
from shared.contracts.command import RefusalCode
from shared.contracts.key import BindAuthority
from shared.contracts.key_events import AuthorityBound
from shared.contracts.keying import Purpose
from shared.decider import Perform, Refused


def bind(key: Key, wish: BindAuthority) -> Answer:
    match key:
        case Unborn():
            problem = f"there is no key {wish.key_id}: generate or import it first"
            return Refused(RefusalCode.NOT_FOUND, problem)
        case Active(purpose=Purpose.CERTIFICATE_SIGNING):
            return Perform(BindCertificate(wish.key_id, wish.certificate_pem))
        case Active(purpose=purpose):
            problem = f"key {wish.key_id} is for {purpose}: only a certificate-signing key is an authority's"
            return Refused(RefusalCode.NOT_ALLOWED, problem)
        case Escrowed() | Revoked() | Destroyed():
            problem = f"key {wish.key_id} signs nothing any more: bind a key that is in use"
            return Refused(RefusalCode.CONFLICT, problem)
        case _:
            assert_never(key)


def bound(outcome: AuthorityNoted | NotAnAuthority) -> Answer:
    wish = outcome.request
    match outcome:
        case AuthorityNoted():
            return AuthorityBound(
                key_id=wish.key_id,
                certificate_pem=wish.certificate_pem,
                fingerprint_sha256=outcome.fingerprint_sha256,
            )
        case NotAnAuthority():
            problem = f"certificate_pem makes no authority of key {wish.key_id}: {outcome.reason}"
            return Refused(RefusalCode.INVALID, problem)
        case _:
            assert_never(outcome)
