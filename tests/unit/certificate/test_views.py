"""Views for relying parties: each document follows from the log."""

import ipaddress
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from services.certificate.names.x509_names import describe_general_name
from services.certificate.views.documents import StoredEvent, View, certificate_views, issuer_views, publication_views
from shared.contracts.certificate.value_types import Profile
from tests.support.pki import LIFE, TODAY, bundle_published, certify, crl_published, der, ocsp_published, pem, root

ROOT = root()
ALICE = certify("alice", ROOT, sans=[x509.DNSName("alice.example"), x509.RFC822Name("alice@acme.example")])


def history(*events):
    return [
        StoredEvent(event, sequence, TODAY + timedelta(seconds=sequence)) for sequence, event in enumerate(events, 1)
    ]


def document(*events):
    return json.loads(certificate_views(history(*events))[0].value)


def test_an_issued_certificate_is_found_by_its_id_and_by_its_issuer_and_serial():
    views = certificate_views(history(ALICE.signed))

    assert [view.key for view in views] == [
        f"certificate.{ALICE.certificate_id}",
        f"issued.{ROOT.certificate_id}.{ALICE.serial}",
    ]
    assert len({view.value for view in views}) == 1
    assert {view.sequence for view in views} == {1}


def test_the_document_says_what_the_certificate_says():
    signed = ALICE.signed

    assert document(signed) == {
        "certificate_id": ALICE.certificate_id,
        "profile": "tls-server",
        "serial": ALICE.serial,
        "issuer_id": ROOT.certificate_id,
        "key_id": signed.key_id,
        "subject": "CN=alice",
        "sans": [{"kind": "dns", "value": "alice.example"}, {"kind": "email", "value": "alice@acme.example"}],
        "fingerprint_sha256": signed.fingerprint_sha256,
        "not_before": LIFE["not_before"].isoformat().replace("+00:00", "Z"),
        "not_after": LIFE["not_after"].isoformat().replace("+00:00", "Z"),
        "status": "issued",
        "sequence": 1,
    }


def test_what_nobody_issued_is_found_by_no_issuer():
    assert [view.key for view in certificate_views(history(ROOT.signed))] == [f"certificate.{ROOT.certificate_id}"]


def test_a_voided_id_and_one_that_was_never_signed_show_nowhere():
    assert certificate_views(history(ALICE.revoked())) == ()
    assert certificate_views([]) == ()


SUPERSEDED = ALICE.superseded()


@pytest.mark.parametrize(
    ("status", "events"),
    [
        ("issued", []),
        ("held", [ALICE.held()]),
        ("issued", [ALICE.held(), ALICE.released()]),
        ("held", [ALICE.released(), ALICE.held()]),
        ("superseded", [SUPERSEDED]),
        ("held", [SUPERSEDED, ALICE.held()]),
        ("superseded", [ALICE.held(), SUPERSEDED, ALICE.released()]),
        ("expired", [SUPERSEDED, ALICE.expired()]),
        ("expired", [ALICE.held(), ALICE.expired()]),
        ("revoked", [ALICE.revoked(), ALICE.expired()]),
        ("revoked", [ALICE.held(), ALICE.revoked()]),
    ],
)
def test_of_all_that_happened_the_gravest_is_its_status(status, events):
    assert document(ALICE.signed, *events)["status"] == status


@pytest.mark.parametrize(
    ("second", "before"), [(2, []), (2, [ALICE.held()]), (4, [ALICE.held(), ALICE.released()]), (3, [SUPERSEDED])]
)
def test_a_revoked_one_says_why_and_since_when_it_was_not_to_be_relied_on(second, before):
    told = document(ALICE.signed, *before, ALICE.revoked())

    since = (TODAY + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    assert (told["revoked_at"], told["reason"], told["sequence"]) == (since, "keyCompromise", len(before) + 2)


def test_a_superseded_one_names_its_successor():
    assert document(ALICE.signed, SUPERSEDED)["successor_id"] == SUPERSEDED.successor_id


def test_an_authority_is_given_out_as_it_is_and_an_end_entity_is_not():
    assert issuer_views(ROOT.signed, 7) == (View(f"ca.{ROOT.certificate_id}", der(ROOT.certificate), 7),)
    assert issuer_views(ALICE.signed, 7) == ()


def test_a_responder_whose_key_is_here_is_named_beside_its_issuer():
    responder = certify("responder", ROOT, Profile.OCSP_RESPONDER)
    here = responder.signed.model_copy(update={"key_id": responder.certificate_id})
    elsewhere = responder.signed.model_copy(update={"key_id": None})

    key = f"responder.{ROOT.certificate_id}.{responder.certificate_id}"
    assert issuer_views(here, 9) == (View(key, responder.certificate_id.encode(), 9),)
    assert issuer_views(elsewhere, 9) == ()


def test_a_crl_is_given_out_in_der():
    (view,) = publication_views(crl_published(ROOT, 5, [ALICE]), 3)

    crl = x509.load_der_x509_crl(view.value)
    assert (view.key, view.sequence) == (f"crl.{ROOT.certificate_id}", 3)
    assert crl.is_signature_valid(ROOT.key.public_key())
    assert crl.get_revoked_certificate_by_serial_number(ALICE.certificate.serial_number) is not None


def test_every_answer_of_a_batch_is_found_by_the_issuers_key_and_the_serial():
    published = ocsp_published(ROOT, [ALICE, certify("bob", ROOT)])

    views = publication_views(published, 4)

    assert len({view.key for view in views}) == 4
    assert views[0].key == f"ocsp.{published.answers[0].issuer_key_hash}.{ALICE.serial}"
    assert [view.value for view in views] == [answer.response for answer in published.answers]


def test_a_bundle_is_its_roots_one_after_the_other():
    other = root("Other")
    published = bundle_published(ROOT, other)

    (view,) = publication_views(published, 2)

    assert view == View(f"bundle.{published.bundle_id}", (pem(ROOT.certificate) + pem(other.certificate)).encode(), 2)


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        (x509.UniformResourceIdentifier("urn:x:y"), "uri", "urn:x:y"),
        (x509.IPAddress(ipaddress.ip_address("2001:db8::1")), "ip", "2001:db8::1"),
        (x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x03a@b"), "upn", "a@b"),
        (x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), "other-name", "1.2.3"),
        (
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x05\x00"),
            "other-name",
            "1.3.6.1.4.1.311.20.2.3",
        ),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), "registered-id", "1.2.3"),
        (x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])), "directory-name", "CN=x"),
    ],
)
def test_every_kind_of_name_has_words(name, kind, value):
    assert describe_general_name(name) == {"kind": kind, "value": value}
