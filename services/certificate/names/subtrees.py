"""Subtrees of names: those of requested name constraints (RFC 5280, 4.2.1.10) and of policy patterns. Pure."""

from ipaddress import ip_address, ip_network

from services.certificate.names.syntax import AlternativeNames, is_domain, is_mailbox
from shared.contracts.certificate.value_types import NameConstraints, SanKind

_KINDS = (SanKind.DNS, SanKind.EMAIL, SanKind.IP)
_FORMS = {
    SanKind.DNS: "the domains: example.org",
    SanKind.EMAIL: "the mailboxes: example.org, .example.org or alice@example.org",
    SanKind.IP: "the networks: 192.0.2.0/24 or 2001:db8::/32",
}


def is_host_within(host: str, domain: str) -> bool:
    """Tells whether *host*, or all that a wildcard covers, is *domain* or below it."""
    host, domain = host.lower().removeprefix("*."), domain.lower().removeprefix(".")
    return host == domain or host.endswith(f".{domain}")


def wildcard_covers(host: str, domain: str) -> bool:
    """Tells whether *host* is a wildcard that covers *domain*, as *.example.org covers www.example.org."""
    return host.startswith("*.") and host[2:].lower() == domain.lower().removeprefix(".").partition(".")[2]


def is_mailbox_within(mailbox: str, subtree: str) -> bool:
    """Tells whether *mailbox* is that mailbox, is at the host example.org, or at a host below .example.org."""
    local_part, _, host = mailbox.rpartition("@")
    if "@" in subtree:
        other_local_part, _, domain = subtree.rpartition("@")
        return (local_part, host.lower()) == (other_local_part, domain.lower())
    if subtree.startswith("."):
        return host.lower().endswith(subtree.lower())
    return host.lower() == subtree.lower()


def is_address_within(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)


def check_constraints(constraints: NameConstraints) -> str | None:
    """Returns what is wrong with the syntax of *constraints*, or None."""
    if constraints == NameConstraints():
        return "name_constraints constrain nothing; leave them out, or permit or exclude something"
    for kind in _KINDS:
        for subtree in (*_permitted(constraints, kind), *_excluded(constraints, kind)):
            if not is_subtree(kind, subtree):
                return f"{subtree} in name_constraints is none of {_FORMS[kind]}"
    return None


def is_subtree(kind: SanKind, subtree: str) -> bool:
    match kind:
        case SanKind.DNS:
            return is_domain(subtree)
        case SanKind.EMAIL:
            return is_mailbox(subtree) if "@" in subtree else is_domain(subtree.removeprefix("."))
        case SanKind.IP:
            try:
                return "/" in subtree and ip_network(subtree) is not None
            except ValueError:
                return False
        case _:
            return False


def find_violation(names: AlternativeNames, constraints: NameConstraints) -> str | None:
    """Returns the first name that a CA with these constraints may not certify, and why, or None."""
    for name in names:
        if name.kind not in _KINDS:
            continue
        excluded, permitted = _excluded(constraints, name.kind), _permitted(constraints, name.kind)
        if any(_is_within(name.kind, name.value, subtree, is_excluding=True) for subtree in excluded):
            return f"{name.value} is excluded; excluded are {', '.join(excluded)}"
        if permitted and not any(_is_within(name.kind, name.value, subtree) for subtree in permitted):
            return f"{name.value} is not permitted; permitted are {', '.join(permitted)}"
    return None


def _is_within(kind: SanKind, value: str, subtree: str, *, is_excluding: bool = False) -> bool:
    match kind:
        case SanKind.DNS:
            return is_host_within(value, subtree) or (is_excluding and wildcard_covers(value, subtree))
        case SanKind.EMAIL:
            return is_mailbox_within(value, subtree)
        case _:
            return is_address_within(value, subtree)


def _permitted(constraints: NameConstraints, kind: SanKind) -> tuple[str, ...]:
    match kind:
        case SanKind.DNS:
            return constraints.permitted_dns
        case SanKind.EMAIL:
            return constraints.permitted_email
        case _:
            return constraints.permitted_ip


def _excluded(constraints: NameConstraints, kind: SanKind) -> tuple[str, ...]:
    match kind:
        case SanKind.DNS:
            return constraints.excluded_dns
        case SanKind.EMAIL:
            return constraints.excluded_email
        case _:
            return constraints.excluded_ip
