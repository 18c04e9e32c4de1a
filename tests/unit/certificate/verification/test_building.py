"""Path building: found paths, reasons for missing ones, and the work limit."""

import subprocess
from datetime import timedelta
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from hypothesis import given
from hypothesis import strategies as st

from services.certificate.verification.budget import DEFAULT_LIMITS, PathLimits
from services.certificate.verification.crl_checks import RevocationStatus
from services.certificate.verification.name_matching import parse_peer_name
from services.certificate.verification.path_building import PathFailure, ValidPath, verify
from services.certificate.verification.path_validation import VerifyOptions
from shared.contracts.certificate.value_types import VerifiedUsage
from tests.support.certificate_factory import BEGIN, END, Party, key_usage, later, name

NOW = later(days=365)
HOST = x509.DNSName("www.example.org")
ROOT = Party("Root")
INTERMEDIATE = Party("Intermediate", ROOT, path_length=0)
LEAF = Party("Leaf", INTERMEDIATE, ca=False, sans=[HOST])


def judge(leaf, *intermediates, anchors=(ROOT,), at=NOW, limits=DEFAULT_LIMITS, **options):
    return verify(
        leaf.der,
        [each.der for each in intermediates],
        [each.der for each in anchors],
        VerifyOptions(at, **options),
        limits=limits,
    )


def path_of(*parties):
    return tuple(each.certificate.fingerprint(hashes.SHA256()).hex() for each in parties)


def refused(answer, words):
    assert isinstance(answer, PathFailure), answer
    assert words in answer.reason
    return answer


def test_the_path_leads_from_the_certificate_to_its_root():
    answer = judge(LEAF, INTERMEDIATE)

    assert isinstance(answer, ValidPath), answer
    assert answer.path == path_of(LEAF, INTERMEDIATE, ROOT)


def test_a_root_that_is_trusted_is_its_own_path():
    assert judge(ROOT).path == path_of(ROOT)


def test_a_root_that_is_not_trusted_leads_nowhere():
    other = Party("Root")

    refused(judge(LEAF, INTERMEDIATE, anchors=[other]), "Root: it did not sign")
    refused(judge(other), "Root: it did not sign")
    refused(judge(LEAF), "Leaf: there is no path")


@pytest.mark.parametrize(
    ("at", "valid"),
    [
        (BEGIN, True),
        (END, True),
        (END + timedelta(microseconds=1), True),  # RFC 5280 knows whole seconds only
        (END + timedelta(seconds=1), False),
        (BEGIN - timedelta(microseconds=1), False),
    ],
)
def test_both_ends_of_a_validity_belong_to_it(at, valid):
    assert isinstance(judge(LEAF, INTERMEDIATE, at=at), ValidPath) == valid


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate,
        mldsa.MLDSA65PrivateKey.generate,
    ],
    ids=["rsa", "p384", "ed25519", "ml-dsa-65"],
)
def test_every_algorithm_of_ours_is_understood(make):
    root = Party("Root", key=make())
    leaf, forged = Party("Leaf", root, ca=False), Party("Leaf", Party("Root", key=make()), ca=False)

    assert isinstance(judge(leaf, anchors=[root]), ValidPath)
    refused(judge(forged, anchors=[root]), "did not sign")


def test_rsa_pss_is_understood():
    root = Party("Root", key=rsa.generate_private_key(65537, 2048))
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)

    assert isinstance(judge(Party("Leaf", root, ca=False, padding=scheme), anchors=[root]), ValidPath)


def test_a_way_that_is_closed_does_not_close_the_others():
    """The same authority under two roots: one certificate of it has expired, the other one is good."""
    other = Party("Other root")
    expired = Party("Intermediate", ROOT, key=INTERMEDIATE.key, end=later(days=1))
    cross = Party("Intermediate", other, key=INTERMEDIATE.key)

    answer = judge(LEAF, expired, cross, anchors=[ROOT, other])

    assert answer.path == path_of(LEAF, cross, other)


def test_a_revoked_intermediate_is_gone_round():
    cross = Party("Intermediate", ROOT, key=INTERMEDIATE.key)
    revoked = path_of(INTERMEDIATE)[0]

    def known(certificate, *_):
        return RevocationStatus.REVOKED if certificate.fingerprint == revoked else RevocationStatus.GOOD

    assert judge(LEAF, INTERMEDIATE, cross, revocation=known).path == path_of(LEAF, cross, ROOT)
    refused(judge(LEAF, INTERMEDIATE, revocation=known), "Intermediate: it was revoked")


def test_names_are_compared_as_people_read_them():
    root = Party(name("Cim   ROOT", organization_name="Cím"))
    same = Party(name("cim root", organization_name="CÍM"), key=root.key)

    assert isinstance(judge(Party("Leaf", same, ca=False), anchors=[root]), ValidPath)


CLIENTS = {"extensions": [(x509.ExtendedKeyUsage([Eku.CLIENT_AUTH]), False)]}
UNKNOWN = {"extensions": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]}


def constrained(permitted=None, excluded=None):
    return {"extensions": [(x509.NameConstraints(permitted, excluded), True)]}


CHAINS = {
    "as it should be": (True, {}, {}, {}),
    "an authority too many": (False, {"path_length": 0}, {}, {}),
    "no authority in between": (False, {}, {"ca": False}, {}),
    "an authority that signs no certificates": (False, {}, {"extensions": [(key_usage("crl_sign"), True)]}, {}),
    "an authority of clients only": (False, {}, CLIENTS, {}),
    "a certificate of clients only": (False, {}, {}, CLIENTS),
    "names that are permitted": (True, {}, constrained([x509.DNSName("example.org")]), {}),
    "names that are not": (False, {}, constrained([x509.DNSName("example.com")]), {}),
    "names that are excluded": (False, {}, constrained(None, [HOST]), {}),
    "addresses that are not named": (True, {}, constrained([x509.IPAddress(ip_network("192.0.2.0/24"))]), {}),
    "a critical extension that nobody knows": (False, {}, {}, UNKNOWN),
    "an intermediate that has ended": (False, {}, {"end": later(days=1)}, {}),
    "a root that has ended": (False, {"end": later(days=1)}, {}, {}),
}
"""The expected validity, and the peculiarities of root, intermediate and leaf."""


@pytest.mark.parametrize("chain", CHAINS)
def test_openssl_is_of_the_same_opinion(chain, tmp_path):
    valid, of_root, of_intermediate, of_leaf = CHAINS[chain]
    root = Party("Root", **of_root)
    intermediate = Party("Intermediate", root, **of_intermediate)
    leaf = Party("Leaf", intermediate, **({"ca": False, "sans": [HOST]} | of_leaf))
    files = {"root": root, "intermediate": intermediate, "leaf": leaf}
    for file, party in files.items():
        (tmp_path / file).write_text(party.pem)

    answer = judge(
        leaf, intermediate, anchors=[root], usage=VerifiedUsage.TLS_SERVER, names=(parse_peer_name(HOST.value),)
    )
    theirs = subprocess.run(
        [
            *("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", HOST.value),
            *("-attime", str(int(NOW.timestamp())), "-CAfile", "root", "-untrusted", "intermediate", "leaf"),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert isinstance(answer, ValidPath) == valid, answer
    assert (theirs.returncode == 0) == valid, theirs


@given(st.data())
def test_what_was_changed_in_one_octet_is_never_verified_and_never_breaks_anything(data):
    where = data.draw(st.integers(0, len(LEAF.der) - 1))
    flipped = LEAF.der[where] ^ data.draw(st.integers(1, 255))
    changed = LEAF.der[:where] + bytes([flipped]) + LEAF.der[where + 1 :]

    answer = verify(changed, [INTERMEDIATE.der], [ROOT.der], VerifyOptions(NOW))

    assert isinstance(answer, PathFailure)


def test_a_signature_that_says_that_its_last_bit_is_unused_is_none():
    """Its last octet must be even, or no parser takes it: one in two is."""
    leaf = next(leaf for leaf in (Party("Leaf", INTERMEDIATE, ca=False) for _ in range(100)) if leaf.der[-1] % 2 == 0)
    signature = leaf.certificate.signature
    changed = leaf.der[: -len(signature) - 1] + b"\1" + signature

    refused(verify(changed, [INTERMEDIATE.der], [ROOT.der], VerifyOptions(NOW)), "whole octets")


@given(st.binary(max_size=64))
def test_what_is_no_certificate_is_said_to_be_none(noise):
    assert isinstance(verify(noise, [noise], [ROOT.der, noise], VerifyOptions(NOW)), PathFailure)
    assert isinstance(verify(LEAF.der, [INTERMEDIATE.der, noise], [noise, ROOT.der], VerifyOptions(NOW)), ValidPath)


def without_identifiers(subject, issuer=None, key=None):
    """An authority whose key identifier tells nothing: that of everybody else."""
    everybody = [
        (x509.SubjectKeyIdentifier(b"same"), False),
        (x509.AuthorityKeyIdentifier(b"same", None, None), False),
    ]
    return Party(subject, issuer, key=key, extensions=everybody)


def test_a_crowd_of_one_name_costs_no_more_signatures_than_the_limit():
    """Each may have issued each, by name and key identifier: that would be a hundred to the power of the depth."""
    crowd = [without_identifiers("Crowd")]
    for _ in range(99):
        crowd.append(without_identifiers("Crowd", crowd[-1]))
    leaf = Party("Leaf", crowd[-1], ca=False)

    answer = refused(judge(leaf, *crowd), "path building stopped")

    assert answer.budget.signatures <= DEFAULT_LIMITS.signatures + 1


def test_a_mesh_of_one_key_costs_no_more_steps_than_the_limit():
    """Twelve authorities of one key that certified each other: every signature is good, and no path ends."""
    key = ec.generate_private_key(ec.SECP256R1())
    heads = [without_identifiers(f"Head {n}", key=key) for n in range(12)]
    mesh = [without_identifiers(f"Head {n}", heads[m], key=key) for n in range(12) for m in range(12) if n != m]

    answer = refused(judge(Party("Leaf", heads[0], ca=False), *mesh), "path building stopped")

    assert answer.budget.steps <= DEFAULT_LIMITS.steps + 1
    assert answer.budget.signatures <= DEFAULT_LIMITS.signatures


def test_a_bomb_of_name_constraints_costs_no_more_comparisons_than_the_limit():
    names = [x509.DNSName(f"t{n}.example.org") for n in range(1000)]
    root = Party(
        "Root", extensions=[(x509.NameConstraints(None, [x509.DNSName(f"x{n}.org") for n in range(1000)]), True)]
    )

    refused(judge(Party("Leaf", root, ca=False, sans=names), anchors=[root]), "path building stopped")


def test_a_path_is_as_long_as_is_allowed():
    chain = [Party("Root 0")]
    for n in range(1, 5):
        chain.append(Party(f"CA {n}", chain[-1]))
    leaf = Party("Leaf", chain[-1], ca=False)

    assert isinstance(judge(leaf, *chain[1:], anchors=chain[:1], limits=PathLimits(intermediates=4)), ValidPath)
    refused(judge(leaf, *chain[1:], anchors=chain[:1], limits=PathLimits(intermediates=3)), "more than 3 intermediates")
