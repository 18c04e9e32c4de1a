"""Custody of a CA key for CRLs: each rule, by a deliberate defect."""

from datetime import timedelta

import pytest
from cryptography import x509

from services.key.custody.ca_register import ca_certificate_of
from services.key.custody.crl_rules import require_issuer, require_sound
from services.key.custody.tbs import NotSignableError, read
from shared.contracts.key.value_types import SignatureAlgorithm
from tests.support.signing_inputs import NOW, crl, extension, identifier, key, name, root

ROOT = root(key("root").public_key())
AUTHORITY = ca_certificate_of(read(ROOT.tbs(), SignatureAlgorithm.ECDSA_SHA256), "self")
AKI = extension(x509.AuthorityKeyIdentifier(identifier(ROOT.public), None, None))
NUMBER = extension(x509.CRLNumber(1))
DELTA = x509.DeltaCRLIndicator(1)


def examine(tbs, *authorities):
    listed = read(tbs, SignatureAlgorithm.ECDSA_SHA256)
    require_sound(listed)
    require_issuer(listed, authorities)


def refuses(tbs, *authorities, because):
    with pytest.raises(NotSignableError, match=because):
        examine(tbs, *authorities)


def point(*, indirect=False):
    where = [x509.UniformResourceIdentifier("http://crl.example/1")]
    return x509.IssuingDistributionPoint(
        full_name=where,
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=indirect,
        only_contains_attribute_certs=False,
    )


def test_an_authoritys_own_crl_is_signed():
    examine(crl(ROOT), AUTHORITY)


def test_so_are_delta_and_partitioned_ones():
    examine(crl(ROOT, extensions=(AKI, NUMBER, extension(DELTA, critical=True))), AUTHORITY)
    examine(crl(ROOT, extensions=(AKI, NUMBER, extension(point(), critical=True))), AUTHORITY)


def test_a_key_without_a_certificate_signs_no_crl():
    refuses(crl(ROOT), because="has no CA certificate")


def test_another_issuer_is_refused():
    refuses(crl(ROOT.but(subject=name("Other"))), AUTHORITY, because="the name differs")


@pytest.mark.parametrize("extensions", [(NUMBER,), (NUMBER, extension(x509.AuthorityKeyIdentifier(b"x", None, None)))])
def test_another_key_identifier_or_none_is_refused(extensions):
    refuses(crl(ROOT, extensions=extensions), AUTHORITY, because="authority key identifier is not")


def test_a_crl_without_a_number_is_refused():
    refuses(crl(ROOT, extensions=(AKI,)), AUTHORITY, because="no CRL number")


def test_a_crl_from_before_its_authority_is_refused():
    refuses(crl(ROOT, begins=NOW - timedelta(seconds=1)), AUTHORITY, because="thisUpdate is before")


def test_a_crl_that_stands_for_more_than_a_year_is_refused():
    examine(crl(ROOT, ends=NOW + timedelta(days=367)), AUTHORITY)
    refuses(crl(ROOT, ends=NOW + timedelta(days=367, seconds=1)), AUTHORITY, because="within 367 days")


def utc_time(moment):
    return b"\x17\x0d" + f"{moment:%y%m%d%H%M%SZ}".encode()


def test_a_crl_that_ends_before_it_begins_is_refused():
    ends = NOW + timedelta(days=7)
    swapped = crl(ROOT, ends=ends).replace(utc_time(ends), utc_time(NOW - timedelta(days=1)))

    refuses(swapped, AUTHORITY, because="must be after thisUpdate")


def test_a_crl_that_never_ends_is_refused():
    ends = NOW + timedelta(days=7)
    whole = crl(ROOT, ends=ends)
    endless = whole.replace(utc_time(ends), b"")
    assert whole[1] == 0x81

    refuses(b"\x30\x81" + bytes([len(endless) - 3]) + endless[3:], AUTHORITY, because="no nextUpdate")


def test_a_delta_crl_says_so_critically():
    refuses(crl(ROOT, extensions=(AKI, NUMBER, extension(DELTA))), AUTHORITY, because="must be critical")


@pytest.mark.parametrize(
    "partition", [extension(point()), extension(point(indirect=True), critical=True)], ids=["not critical", "indirect"]
)
def test_a_distribution_point_is_critical_and_direct(partition):
    refuses(crl(ROOT, extensions=(AKI, NUMBER, partition)), AUTHORITY, because="critical and not indirect")


def test_a_critical_extension_that_is_not_understood_is_refused():
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

    refuses(crl(ROOT, extensions=(AKI, NUMBER, extension(unknown, critical=True))), AUTHORITY, because="not understood")
    refuses(crl(ROOT, entry=extension(unknown, critical=True)), AUTHORITY, because="of an entry")


def test_an_authority_does_not_revoke_what_another_has_issued():
    other = x509.CertificateIssuer([x509.DirectoryName(name("Other"))])

    refuses(crl(ROOT, entry=extension(other)), AUTHORITY, because="of an entry is not signed")
