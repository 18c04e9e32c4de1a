"""Certificate policies along a path (RFC 5280, 6.1): requireExplicitPolicy, mappings, inhibitAnyPolicy. Pure.

The initial set is any-policy, so the set of valid policies at each depth is enough (RFC 9618). The policy tree of
RFC 5280 grows exponentially.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import CertificatePoliciesOID, ObjectIdentifier

from services.certificate.verification.parsed_certificate import ParsedCertificate

_ANY = CertificatePoliciesOID.ANY_POLICY
_ValidPolicies = dict[ObjectIdentifier, set[ObjectIdentifier]]
"""Each valid policy with its expected policies in the next certificate."""


@dataclass(slots=True)
class _State:
    """State variables of RFC 5280, 6.1.2: the counters explicit_policy, policy_mapping and inhibit_anyPolicy."""

    explicit: int
    mapping: int
    any_policy: int
    valid: _ValidPolicies = field(default_factory=lambda: {_ANY: {_ANY}})

    @property
    def has_failed(self) -> bool:
        return self.explicit == 0 and not self.valid


def check_policies(path: Sequence[ParsedCertificate]) -> str | None:
    """Returns which certificate lacks a required policy, or None."""
    never = len(path)
    state = _State(explicit=never, mapping=never, any_policy=never)
    for depth in range(len(path) - 2, -1, -1):
        certificate, is_last = path[depth], depth == 0
        _process_policies(state, certificate, is_last=is_last)
        if state.has_failed:
            return _problem(certificate)
        if _ANY in certificate.policy_mappings or any(_ANY in each for each in certificate.policy_mappings.values()):
            return f"{certificate.title}: it maps any policy (RFC 5280, 6.1.4 (a))"
        if not is_last:
            _process_mappings(state, certificate)
        if is_last or not certificate.is_self_issued:
            state.explicit, state.mapping, state.any_policy = (
                max(each - 1, 0) for each in (state.explicit, state.mapping, state.any_policy)
            )
        _process_constraints(state, certificate)
    return _problem(path[0]) if state.has_failed else None


def _process_policies(state: _State, certificate: ParsedCertificate, *, is_last: bool) -> None:
    """Does steps (d) and (e) of RFC 5280, 6.1.3."""
    policies = {each.policy_identifier for each in certificate.find(x509.CertificatePolicies) or ()}
    expected = {each for expected in state.valid.values() for each in expected}
    remaining = {each for each in policies if each != _ANY and (each in expected or _ANY in state.valid)}
    if _ANY in policies and (state.any_policy > 0 or (not is_last and certificate.is_self_issued)):
        remaining |= expected
    state.valid = {each: {each} for each in remaining}


def _process_mappings(state: _State, certificate: ParsedCertificate) -> None:
    """Does step (b) of RFC 5280, 6.1.4."""
    for policy, others in certificate.policy_mappings.items():
        if state.mapping == 0:
            state.valid.pop(policy, None)
        elif policy in state.valid or _ANY in state.valid:
            state.valid[policy] = set(others)


def _process_constraints(state: _State, certificate: ParsedCertificate) -> None:
    """Does steps (i) and (j) of RFC 5280, 6.1.4, and (b) of 6.1.5."""
    constraints, inhibited = certificate.find(x509.PolicyConstraints), certificate.find(x509.InhibitAnyPolicy)
    if constraints is not None and constraints.require_explicit_policy is not None:
        state.explicit = min(state.explicit, constraints.require_explicit_policy)
    if constraints is not None and constraints.inhibit_policy_mapping is not None:
        state.mapping = min(state.mapping, constraints.inhibit_policy_mapping)
    if inhibited is not None:
        state.any_policy = min(state.any_policy, inhibited.skip_certs)


def _problem(certificate: ParsedCertificate) -> str:
    return f"{certificate.title}: it has none of the policies that its issuers require (RFC 5280, 6.1.3 (f))"
