"""The DER of CRLs and OCSP responses, octet for octet beside cryptography's builders and pyasn1."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import encode_der
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import useful
from pyasn1_alt_modules import rfc5280, rfc6960

from services.certificate.der import (
    algorithm_identifier,
    crl_entry,
    encode_enumerated,
    encode_signed,
    generalized_time,
    reason_code,
    tbs_cert_list,
    time,
)
from services.certificate.ocsp import encoding
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm
from tests.support.certificate_factory import Party

_KEY = ec.generate_private_key(ec.SECP384R1())
_NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ümläut"),
        x509.NameAttribute(NameOID.COMMON_NAME, "CA 1"),
    ]
)
_FLAGS = {
    RevocationReason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
    RevocationReason.CA_COMPROMISE: x509.ReasonFlags.ca_compromise,
    RevocationReason.AFFILIATION_CHANGED: x509.ReasonFlags.affiliation_changed,
    RevocationReason.SUPERSEDED: x509.ReasonFlags.superseded,
    RevocationReason.CESSATION_OF_OPERATION: x509.ReasonFlags.cessation_of_operation,
    RevocationReason.PRIVILEGE_WITHDRAWN: x509.ReasonFlags.privilege_withdrawn,
    RevocationReason.AA_COMPROMISE: x509.ReasonFlags.aa_compromise,
    None: x509.ReasonFlags.certificate_hold,
}
_moments = st.datetimes(datetime(1950, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001 - hypothesis adds the zone
    lambda at: at.replace(microsecond=0)
)
_serials = st.integers(1, 2**159 - 1)
_reasons = st.sampled_from([None, *RevocationReason])
_entries = st.lists(st.tuples(_serials, _moments, _reasons, st.none() | _moments), max_size=8)
_octets = st.binary(min_size=1, max_size=64)


def _built_by_cryptography(entries, this_update, next_update, key_identifier, number):
    builder = x509.CertificateRevocationListBuilder().issuer_name(_NAME)
    builder = builder.last_update(this_update).next_update(next_update)
    for serial, at, reason, invalidity_date in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
        if reason in _FLAGS:
            entry = entry.add_extension(x509.CRLReason(_FLAGS[reason]), critical=False)
        if invalidity_date is not None:
            entry = entry.add_extension(x509.InvalidityDate(invalidity_date.replace(tzinfo=None)), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    builder = builder.add_extension(x509.AuthorityKeyIdentifier(key_identifier, None, None), critical=False)
    return builder.add_extension(x509.CRLNumber(number), critical=False).sign(_KEY, hashes.SHA384())


@settings(deadline=None)
@given(_entries, _moments, st.integers(0, 9999), _octets, st.integers(0, 2**100))
def test_a_crl_is_octet_for_octet_the_one_of_cryptography_s_builder(entries, begin, minutes, key_identifier, number):
    end = min(begin + timedelta(minutes=minutes), datetime(9999, 12, 31, tzinfo=UTC))
    theirs = _built_by_cryptography(entries, begin, end, key_identifier, number)

    tbs = tbs_cert_list(
        SignatureAlgorithm.ECDSA_SHA384,
        issuer_name=_NAME.public_bytes(),
        this_update=begin,
        next_update=end,
        entries=[crl_entry(*each) for each in entries],
        key_identifier=key_identifier,
        number=number,
    )

    assert tbs == theirs.tbs_certlist_bytes
    assert x509.load_der_x509_crl(encode_signed(tbs, SignatureAlgorithm.ECDSA_SHA384, theirs.signature)) == theirs


@settings(deadline=None)
@given(_entries, st.tuples(_moments, _moments), _octets, st.integers(0, 2**100), st.sampled_from(SignatureAlgorithm))
def test_pyasn1_reads_a_crl_of_every_algorithm_and_writes_the_same(entries, times, key_id, number, algorithm):
    tbs = tbs_cert_list(
        algorithm,
        issuer_name=_NAME.public_bytes(),
        this_update=times[0],
        next_update=times[1],
        entries=[crl_entry(*each) for each in entries],
        key_identifier=key_id,
        number=number,
    )

    read, rest = decoder.decode(tbs, asn1Spec=rfc5280.TBSCertList())
    assert (encoder.encode(read), rest) == (tbs, b"")
    serials = [int(each["userCertificate"]) for each in read["revokedCertificates"]] if entries else []
    assert serials == [serial for serial, *_ in entries]


@settings(deadline=None)
@given(
    st.builds(
        lambda names, hashed: names(hashed, hashed), st.sampled_from([encoding.sha_1, encoding.sha_256]), _octets
    ),
    _serials,
    st.none() | st.tuples(_moments, _reasons),
    st.tuples(_moments, _moments),
)
def test_pyasn1_reads_response_data_and_writes_the_same(issuer, serial, revocation, times):
    status = encoding.good() if revocation is None else encoding.revoked(*revocation)

    tbs = encoding.response_data(b"k" * 20, issuer, serial, status, this_update=times[0], next_update=times[1])

    read, rest = decoder.decode(tbs, asn1Spec=rfc6960.ResponseData())
    assert (encoder.encode(read), rest) == (tbs, b"")
    single = read["responses"][0]
    assert int(single["certID"]["serialNumber"]) == serial
    assert single["certStatus"].getName() == ("good" if revocation is None else "revoked")


def _response_by_cryptography(leaf, issuer, reason):
    """Its builder reads the clock for producedAt, which must be thisUpdate here."""
    certificates = leaf.certificate, issuer.certificate
    while True:
        now = datetime.now(UTC).replace(microsecond=0)
        times, revoked = (now, now + timedelta(days=7)), (now, reason)
        builder = ocsp.OCSPResponseBuilder().responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
        builder = builder.certificates([issuer.certificate])
        builder = builder.add_response(*certificates, hashes.SHA256(), ocsp.OCSPCertStatus.REVOKED, *times, *revoked)
        response = builder.sign(_KEY, hashes.SHA384())
        if response.produced_at_utc == now:
            return response


@pytest.mark.parametrize("reason", [None, *RevocationReason])
def test_an_ocsp_response_is_octet_for_octet_the_one_of_cryptography_s_builder(reason):
    issuer = Party("CA", key=_KEY)
    leaf = Party("leaf", issuer, ca=False)
    theirs = _response_by_cryptography(leaf, issuer, _FLAGS.get(reason))
    now, end = theirs.this_update_utc, theirs.next_update_utc

    tbs = encoding.response_data(
        theirs.responder_key_hash,
        encoding.sha_256(theirs.issuer_name_hash, theirs.issuer_key_hash),
        theirs.serial_number,
        encoding.revoked(now, reason),
        this_update=now,
        next_update=end,
    )
    certificate = issuer.certificate.public_bytes(Encoding.DER)
    ours = encoding.response(tbs, SignatureAlgorithm.ECDSA_SHA384, theirs.signature, certificate)

    assert tbs == theirs.tbs_response_bytes
    assert ours == theirs.public_bytes(Encoding.DER)


@given(_moments)
def test_a_time_has_two_digits_of_the_year_until_2049_and_four_from_then_on(at):
    read, rest = decoder.decode(encode_der(time(at)))

    assert rest == b""
    assert isinstance(read, useful.UTCTime if at.year < 2050 else useful.GeneralizedTime)
    assert decoder.decode(encode_der(generalized_time(at)))[0].asDateTime == at


def test_times_are_encoded_in_utc_and_to_the_second():
    at = datetime(2026, 11, 21, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert encode_der(time(at)) == encode_der(time(datetime(2026, 11, 21, 12, tzinfo=UTC)))


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_every_signature_algorithm_has_an_identifier(algorithm):
    read, rest = decoder.decode(encode_der(algorithm_identifier(algorithm)))

    assert rest == b""
    assert len(read) == (2 if algorithm.startswith("rsa") else 1)  # RFC 4055: NULL for RSA; RFC 5758, 8410, 9881: none


def test_unspecified_has_no_code_and_a_hold_is_six():
    assert reason_code(RevocationReason.UNSPECIFIED) is None
    assert reason_code(None) == encode_enumerated(6)
    assert len({reason_code(reason) for reason in RevocationReason}) == len(RevocationReason)
