"""Which names lie in which subtree: of name constraints (RFC 5280, 4.2.1.10), and of the policy's patterns. Pure."""

from ipaddress import ip_address, ip_network

from services.certificate.names.syntax import AlternativeNames, is_domain, is_mailbox
from shared.contracts.certificate.value_types import NameConstraints, SanKind

_KINDS = (SanKind.DNS, SanKind.EMAIL, SanKind.IP)


def host_below(host: str, domain: str) -> bool:
    """Whether *host* is *domain* or below it; a wildcard is, where all that it stands for is."""
    host, domain = host.lower().removeprefix("*."), domain.lower().removeprefix(".")
    return host == domain or host.endswith(f".{domain}")


def wildcard_reaches(host: str, domain: str) -> bool:
    """Whether *host* is a wildcard that stands for *domain* as well: *.example.org and www.example.org."""
    return host.startswith("*.") and host[2:].lower() == domain.lower().removeprefix(".").partition(".")[2]


def mailbox_below(mailbox: str, subtree: str) -> bool:
    """One mailbox, those of the host example.org, or those of the hosts below .example.org."""
    local_part, _, host = mailbox.rpartition("@")
    if "@" in subtree:
        theirs, _, domain = subtree.rpartition("@")
        return (local_part, host.lower()) == (theirs, domain.lower())
    if subtree.startswith("."):
        return host.lower().endswith(subtree.lower())
    return host.lower() == subtree.lower()


def address_below(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)


def malformed(constraints: NameConstraints) -> str | None:
    if constraints == NameConstraints():
        return "name_constraints constrain nothing; leave them out, or permit or exclude something"
    for kind in _KINDS:
        for subtree in (*_permitted(constraints, kind), *_excluded(constraints, kind)):
            if not is_subtree(kind, subtree):
                return f"{subtree} in name_constraints is none of {_FORMS[kind]}"
    return None


_FORMS = {
    SanKind.DNS: "the domains: example.org",
    SanKind.EMAIL: "the mailboxes: example.org, .example.org or alice@example.org",
    SanKind.IP: "the networks: 192.0.2.0/24 or 2001:db8::/32",
}


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


def violation(names: AlternativeNames, constraints: NameConstraints) -> str | None:
    """The first name that an authority with these constraints may not issue for, and why; None: there is none."""
    for name in names:
        if name.kind not in _KINDS:
            continue
        excluded, permitted = _excluded(constraints, name.kind), _permitted(constraints, name.kind)
        if any(_lies_in(name.kind, name.value, subtree, reaching=True) for subtree in excluded):
            return f"{name.value} is excluded; excluded are {', '.join(excluded)}"
        if permitted and not any(_lies_in(name.kind, name.value, subtree) for subtree in permitted):
            return f"{name.value} is not permitted; permitted are {', '.join(permitted)}"
    return None


def _lies_in(kind: SanKind, value: str, subtree: str, *, reaching: bool = False) -> bool:
    match kind:
        case SanKind.DNS:
            return host_below(value, subtree) or (reaching and wildcard_reaches(value, subtree))
        case SanKind.EMAIL:
            return mailbox_below(value, subtree)
        case _:
            return address_below(value, subtree)


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
