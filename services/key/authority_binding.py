"""When a key is told for which certificate it signs: for those whose issuer's key is elsewhere (docs/adr/0012)."""

from __future__ import annotations

from typing import assert_never

from services.key.effects import Answer, AuthorityNoted, BindCertificate, NotAnAuthority
from services.key.rejections import conflict, end_of, invalid, not_allowed, not_found
from services.key.states import Active, Destroyed, Escrowed, Key, Over, Prepared, Rotated, Unborn, Voided
from shared.contracts.key.commands import BindAuthority
from shared.contracts.key.events import AuthorityBound
from shared.contracts.key.value_types import Purpose
from shared.decider import Perform


def bind(key: Key, wish: BindAuthority) -> Answer:
    match key:
        case Unborn() | Prepared():
            return not_found(wish.key_id, ": generate or import it first")
        case Active(traits=traits) | Rotated(traits=traits):
            if traits.purpose is not Purpose.CERTIFICATE_SIGNING:
                return not_allowed(
                    f"key {wish.key_id} is for {traits.purpose}: only a certificate-signing key is an authority's"
                )
            return Perform(BindCertificate(wish.key_id, wish.certificate_pem))
        case Escrowed():
            return conflict(f"key {wish.key_id} is escrowed and signs nothing any more: bind a key that is in use")
        case Over() | Voided() | Destroyed():
            return conflict(f"key {wish.key_id} {end_of(key)} and signs nothing any more: bind a key that is in use")
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
            return invalid(f"certificate_pem makes no authority of key {wish.key_id}: {outcome.reason}")
        case _:
            assert_never(outcome)
