"""Our DER as pyasn1, which is no work of ours, reads it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import univ, useful

from services.certificate.der import (
    algorithm_identifier,
    enumerated,
    generalized_time,
    integer,
    object_identifier,
    octet_string,
    reason_code,
    time,
)
from shared.contracts.certificate.value_types import RevocationReason
from shared.contracts.key.value_types import SignatureAlgorithm

_moments = st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(st.integers(0, 2**160))
def test_an_integer_is_as_short_as_it_can_be(value):
    assert integer(value) == encoder.encode(univ.Integer(value))


@given(st.binary(max_size=70_000))
def test_octets_stay_what_they_are(content):
    assert octet_string(content) == encoder.encode(univ.OctetString(content))


@given(st.tuples(st.integers(0, 1), st.integers(0, 39)), st.lists(st.integers(0, 2**40), max_size=8))
def test_an_object_identifier_is_read_as_it_was_meant(begin, rest):
    arcs = (*begin, *rest)

    assert object_identifier(".".join(map(str, arcs))) == encoder.encode(univ.ObjectIdentifier(arcs))


@pytest.mark.parametrize("dotted", ["2.5.29.20", "2.16.840.1.101.3.4.3.18", "1.2.840.113549.1.1.11"])
def test_the_identifiers_that_are_used_are_read_as_they_were_meant(dotted):
    assert str(decoder.decode(object_identifier(dotted))[0]) == dotted


@given(_moments.map(lambda at: at.replace(microsecond=0)))
def test_a_time_has_two_digits_of_the_year_until_2049_and_four_from_then_on(at):
    read, rest = decoder.decode(time(at))

    assert rest == b""
    assert isinstance(read, useful.UTCTime if at.year < 2050 else useful.GeneralizedTime)
    assert decoder.decode(generalized_time(at))[0].asDateTime == at


def test_times_are_told_in_utc_and_to_the_second():
    at = datetime(2026, 11, 21, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert time(at) == time(datetime(2026, 11, 21, 12, tzinfo=UTC))


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_every_signature_algorithm_has_an_identifier(algorithm):
    read, rest = decoder.decode(algorithm_identifier(algorithm))

    assert rest == b""
    assert len(read) == (2 if algorithm.startswith("rsa") else 1)  # RFC 4055: NULL for RSA; RFC 5758, 8410, 9881: none


def test_unspecified_is_no_code_and_a_hold_is_six():
    assert reason_code(RevocationReason.UNSPECIFIED) == b""
    assert reason_code(None) == enumerated(6)
    assert len({reason_code(reason) for reason in RevocationReason}) == len(RevocationReason)
