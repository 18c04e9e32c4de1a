"""Trust bundles: versions, and the certificates that a bundle may hold."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from services.certificate.trust_bundle.domain import TRUST_BUNDLE
from services.certificate.trust_bundle.effects import FetchRoots, RootsFetched
from services.certificate.x509.states import Revoked, Unborn
from shared.contracts.certificate.trust_bundle import PublishTrustBundle, TrustBundlePublished
from shared.contracts.certificate.value_types import Profile, RevocationReason
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.messages.ids import new_id
from tests.support.in_memory_ca import private_key
from tests.support.revocation_pki import DAY, holder
from tests.support.scenario import NOON, Scenario

ROOT = holder(Profile.ROOT, days=3650)
NEXT = holder(Profile.ROOT, key=private_key(Algorithm.EC_P256, "next"), days=3650)
LEAF = holder(Profile.PIV_AUTHENTICATION, ROOT)
BUNDLE = str(new_id())


def publish(*roots, **fields):
    ids = tuple(each.certificate_id for each in roots)
    return PublishTrustBundle(**({"bundle_id": BUNDLE, "organization": "CIM", "certificate_ids": ids} | fields))


def fetched(*roots):
    ids = tuple(each.certificate_id for each in roots)
    return RootsFetched(FetchRoots(publish(*roots), ids), tuple(each.state for each in roots))


def told(version, *roots):
    return TrustBundlePublished(
        bundle_id=BUNDLE,
        organization="CIM",
        version=version,
        certificate_ids=tuple(each.certificate_id for each in roots),
        fingerprints_sha256=tuple(each.certificate.fingerprint(hashes.SHA256()).hex() for each in roots),
        certificates_pem=tuple(each.pem for each in roots),
    )


bundle = Scenario(TRUST_BUNDLE)


def test_each_root_is_looked_at_once():
    request = publish(ROOT, NEXT, ROOT)
    ids = (ROOT.certificate_id, NEXT.certificate_id)

    bundle.when(request).then_performs(FetchRoots(request, ids))


def test_the_first_version_is_one_and_each_further_one_more():
    bundle.when(fetched(ROOT)).then(told(1, ROOT))
    bundle.given(told(1, ROOT)).when(fetched(ROOT, NEXT)).then(told(2, ROOT, NEXT))
    bundle.given(told(1, ROOT), told(2, ROOT, NEXT)).when(fetched(NEXT)).then(told(3, NEXT))


def test_what_is_told_can_be_read_by_anybody():
    event = bundle.when(fetched(ROOT, NEXT)).answer

    loaded = x509.load_pem_x509_certificates("".join(event.certificates_pem).encode())

    assert loaded == [ROOT.certificate, NEXT.certificate]


def test_the_same_roots_in_any_order_stand_already():
    answer = bundle.given(told(4, ROOT, NEXT)).when(publish(NEXT, ROOT)).answer

    assert answer.details == {"version": 4}


def test_a_bundle_stays_its_organizations():
    scenario = bundle.given(told(1, ROOT)).when(publish(ROOT, NEXT, organization="Other"))

    scenario.then_rejects(RejectionCode.CONFLICT, "another organization")


def test_only_roots_are_in_a_bundle():
    bundle.when(fetched(ROOT, LEAF)).then_rejects(RejectionCode.NOT_ALLOWED, LEAF.certificate_id, "roots")


@pytest.mark.parametrize(
    "state",
    [Unborn(), Revoked(serial=ROOT.serial, existed=True, reason=RevocationReason.SUPERSEDED)],
    ids=lambda s: s.kind,
)
def test_only_certificates_that_are_issued_are_in_a_bundle(state):
    one = replace(ROOT, state=state)

    bundle.when(fetched(one)).then_rejects(RejectionCode.CONFLICT, ROOT.certificate_id)


def test_a_root_that_has_ended_is_in_no_new_version():
    scenario = bundle.when(fetched(ROOT), at=NOON + 4000 * DAY)

    scenario.then_rejects(RejectionCode.CONFLICT, "valid")
