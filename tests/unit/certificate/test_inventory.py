"""Inventory metrics: certificates count until they expire, and not afterwards."""

from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.certificate.views.inventory import Inventory, InventoryGauges, keep_reporting
from shared.contracts.certificate.events import (
    CertificateExpired,
    CertificateRevoked,
    CertificateSigned,
    CertificateSuperseded,
    CrlPublished,
)
from shared.errors import Transient

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture(name="inventory")
def _inventory():
    return Inventory()


def signed(certificate_id, days, profile="intermediate"):
    return CertificateSigned.model_construct(
        certificate_id=certificate_id, profile=profile, not_after=NOW + timedelta(days=days)
    )


def crl(issuer_id, days):
    return CrlPublished.model_construct(certificate_id=issuer_id, next_update=NOW + timedelta(days=days))


def test_what_has_ended_is_not_counted_among_what_ends_within_days(inventory):
    inventory.apply_event(signed("a", -1))
    inventory.apply_event(signed("b", 0))
    assert inventory.count(TODAY) == {("intermediate", "0"): 1}
    assert inventory.count(TODAY + timedelta(days=1)) == {}


@pytest.mark.parametrize("end", [CertificateRevoked, CertificateExpired])
def test_an_issuer_that_makes_no_crl_any_more_lacks_none(inventory, end):
    for event in (signed("a", 100), crl("a", 7), end.model_construct(certificate_id="a")):
        inventory.apply_event(event)
    assert inventory.crls(NOW) == {}


def test_an_issuer_whose_end_has_come_lacks_no_crl_even_if_it_was_replaced_before(inventory):
    for event in (signed("a", 100), crl("a", 7), CertificateSuperseded.model_construct(certificate_id="a")):
        inventory.apply_event(event)
    inventory.apply_event(crl("a", 14))
    assert inventory.crls(NOW) == {"a": 14 * 86_400.0}
    assert inventory.crls(NOW + timedelta(days=100)) == {"a": -86 * 86_400.0}
    assert inventory.crls(NOW + timedelta(days=101)) == {}


async def test_counting_goes_on_whatever_goes_wrong_and_so_does_time():
    turns = [None, RuntimeError("a bug"), Transient("away"), None]
    reported = []

    async def catch_up():
        if not turns:
            raise SystemExit
        if (trouble := turns.pop(0)) is not None:
            raise trouble

    with pytest.raises(SystemExit):
        await keep_reporting(catch_up, lambda: reported.append(None), interval_s=0)
    assert len(reported) == 4


def test_a_certificate_that_is_gone_is_not_exported_any_more(inventory):
    reader = InMemoryMetricReader()
    gauges = InventoryGauges(MeterProvider([reader], shutdown_on_exit=False).get_meter("test"))

    def exported():
        data = reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else []
        return [(each.name, dict(point.attributes), point.value) for each in metrics for point in each.data.data_points]

    inventory.apply_event(signed("a", 100))
    gauges.report(inventory, NOW)
    labels = {"cim.profile": "intermediate", "cim.expires_within_days": "365"}
    assert exported() == [("cim_keys.certificates", labels, 1)]
    inventory.reset()
    gauges.report(inventory, NOW)
    assert exported() == []
