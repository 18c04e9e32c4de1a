"""OCSP requests and the unsigned responses to those that no pre-signed response answers."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from services.repository.ocsp import UnsignedResponse, decode_path, response_key
from shared import der
from tests.support.pki import certify, key_hash, ocsp_request, root

ROOT = root()
ALICE = certify("alice", ROOT)


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256()])  # noqa: S303 - what clients ask with
def test_it_asks_by_the_issuers_key_and_the_serial(digest):
    assert response_key(ocsp_request(ROOT, ALICE, digest)) == f"ocsp.{key_hash(ROOT, digest)}.{ALICE.serial}"


def test_a_nonce_changes_nothing():
    assert response_key(ocsp_request(ROOT, ALICE, nonce=b"n" * 16)) == response_key(ocsp_request(ROOT, ALICE))


def test_other_hashes_are_not_answered():
    assert response_key(ocsp_request(ROOT, ALICE, hashes.SHA384())) is UnsignedResponse.UNAUTHORIZED


SHA1 = bytes.fromhex("06052b0e03021a0500")


def by_hand(key_hash, serial):
    """A request as only somebody else's software would make it."""
    octets = (bytes([4, len(value)]) + value for value in (b"n" * 20, key_hash))
    certificate_id = der.sequence(der.sequence(SHA1), *octets, bytes([2, len(serial)]) + serial)
    return der.sequence(der.sequence(der.sequence(der.sequence(certificate_id))))


def test_what_is_made_by_hand_is_read_like_any_other():
    assert response_key(by_hand(b"k" * 20, b"\x01\x0f")) == f"ocsp.{'6b' * 20}.10f"


@pytest.mark.parametrize(("key_hash", "serial"), [(b"k" * 19, b"\x01"), (b"k" * 20, b"\x00"), (b"k" * 20, b"\xff")])
def test_a_hash_of_the_wrong_length_or_a_serial_that_none_can_be_is_not_answered(key_hash, serial):
    assert isinstance(response_key(by_hand(key_hash, serial)), UnsignedResponse)


def several():
    """Two CertIDs in one request: cryptography makes none, so it is put together (RFC 6960, 4.1.1)."""
    single = ocsp_request(ROOT, ALICE)
    whole = single[2:]  # the TBSRequest
    one = whole[2:][2:]  # the Request in the requestList
    return der.sequence(der.sequence(der.sequence(one + one)))


def test_several_at_once_are_not_answered_by_one():
    assert response_key(several()) is UnsignedResponse.UNAUTHORIZED


@given(st.binary(max_size=300))
def test_rubbish_is_told_that_it_is_malformed_or_not_for_us(request):
    assert isinstance(response_key(request), UnsignedResponse)


@given(st.integers(0, 60), st.binary(max_size=8))
def test_what_is_damaged_breaks_nothing(at, other):
    request = ocsp_request(ROOT, ALICE)

    assert isinstance(response_key(request[:at] + other + request[at + len(other) :]), str | UnsignedResponse)


def test_a_request_stands_in_a_path_in_base64():
    request = ocsp_request(ROOT, ALICE)
    text = base64.b64encode(request).decode()

    assert decode_path(text) == request
    assert decode_path(f"/{text}") == request  # a client that joins with a slash what ends with one


@pytest.mark.parametrize("text", ["", "MF!", "ü", "TQ"])
def test_what_is_no_base64_is_no_request(text):
    assert response_key(decode_path(text)) is UnsignedResponse.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("unsigned", "status"),
    [
        (UnsignedResponse.MALFORMED_REQUEST, ocsp.OCSPResponseStatus.MALFORMED_REQUEST),
        (UnsignedResponse.TRY_LATER, ocsp.OCSPResponseStatus.TRY_LATER),
        (UnsignedResponse.UNAUTHORIZED, ocsp.OCSPResponseStatus.UNAUTHORIZED),
    ],
)
def test_what_is_unsigned_says_its_status(unsigned, status):
    assert ocsp.load_der_ocsp_response(unsigned.value).response_status is status
