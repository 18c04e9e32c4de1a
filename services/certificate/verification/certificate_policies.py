"""Certificate policies along a path (RFC 5280, 6.1): whether one is left where an authority demands that one be.

Any policy will do for us, so it is enough to know which are left at each step and not by which way, as RFC 9618 has it:
the tree of RFC 5280 grows exponentially.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import CertificatePoliciesOID, ObjectIdentifier

from services.certificate.verification.parsed_certificate import ParsedCertificate

_ANY = CertificatePoliciesOID.ANY_POLICY
_Expected = dict[ObjectIdentifier, set[ObjectIdentifier]]
"""The policies that are left, each with those that the next certificate may have in its place."""


@dataclass(slots=True)
class _State:
    """RFC 5280, 6.1.2: in how many certificates a policy is demanded, mappings and any policy count no longer."""

    explicit: int
    mapping: int
    any_policy: int
    left: _Expected = field(default_factory=lambda: {_ANY: {_ANY}})

    @property
    def is_lost(self) -> bool:
        return self.explicit == 0 and not self.left


def without_policy(path: Sequence[ParsedCertificate]) -> str | None:
    """The certificate by which a policy that is demanded was lost; None: that is not so."""
    never = len(path)
    state = _State(never, never, never)
    for depth in range(len(path) - 2, -1, -1):
        certificate, is_last = path[depth], depth == 0
        _certified(state, certificate, is_last=is_last)
        if state.is_lost:
            return _told(certificate)
        if _ANY in certificate.policy_mappings or any(_ANY in each for each in certificate.policy_mappings.values()):
            return f"{certificate.title}: it maps any policy (RFC 5280, 6.1.4 (a))"
        if not is_last:
            _mapped(state, certificate)
        if is_last or not certificate.is_self_issued:
            state.explicit, state.mapping, state.any_policy = (
                max(each - 1, 0) for each in (state.explicit, state.mapping, state.any_policy)
            )
        _demanded(state, certificate)
    return _told(path[0]) if state.is_lost else None


def _certified(state: _State, certificate: ParsedCertificate, *, is_last: bool) -> None:
    """RFC 5280, 6.1.3 (d) and (e)."""
    policies = {each.policy_identifier for each in certificate.find(x509.CertificatePolicies) or ()}
    expected = {each for expected in state.left.values() for each in expected}
    left = {each for each in policies if each != _ANY and (each in expected or _ANY in state.left)}
    if _ANY in policies and (state.any_policy > 0 or (not is_last and certificate.is_self_issued)):
        left |= expected
    state.left = {each: {each} for each in left}


def _mapped(state: _State, certificate: ParsedCertificate) -> None:
    """RFC 5280, 6.1.4 (b)."""
    for policy, others in certificate.policy_mappings.items():
        if state.mapping == 0:
            state.left.pop(policy, None)
        elif policy in state.left or _ANY in state.left:
            state.left[policy] = set(others)


def _demanded(state: _State, certificate: ParsedCertificate) -> None:
    """RFC 5280, 6.1.4 (i) and (j), 6.1.5 (b)."""
    constraints, inhibited = certificate.find(x509.PolicyConstraints), certificate.find(x509.InhibitAnyPolicy)
    if constraints is not None and constraints.require_explicit_policy is not None:
        state.explicit = min(state.explicit, constraints.require_explicit_policy)
    if constraints is not None and constraints.inhibit_policy_mapping is not None:
        state.mapping = min(state.mapping, constraints.inhibit_policy_mapping)
    if inhibited is not None:
        state.any_policy = min(state.any_policy, inhibited.skip_certs)


def _told(certificate: ParsedCertificate) -> str:
    return f"{certificate.title}: it has none of the policies that its issuers demand (RFC 5280, 6.1.3 (f))"
