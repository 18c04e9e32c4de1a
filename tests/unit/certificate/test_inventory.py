"""What operators are told of certificates: what ends is told before, and never again once it has ended."""

from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest

from services.certificate.views import inventory as module
from services.certificate.views.inventory import Inventory, report_forever
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
def _inventory(monkeypatch):
    monkeypatch.setattr(module, "decode_event", lambda event, _: (None, event))
    return Inventory()


def signed(certificate_id, days, profile="intermediate"):
    return CertificateSigned.model_construct(
        certificate_id=certificate_id, profile=profile, not_after=NOW + timedelta(days=days)
    )


def crl(issuer_id, days):
    return CrlPublished.model_construct(certificate_id=issuer_id, next_update=NOW + timedelta(days=days))


def test_what_has_ended_is_not_counted_among_what_ends_within_days(inventory):
    inventory.apply(signed("a", -1))
    inventory.apply(signed("b", 0))
    assert inventory.count(TODAY) == {("intermediate", "0"): 1}
    assert inventory.count(TODAY + timedelta(days=1)) == {}


@pytest.mark.parametrize("end", [CertificateRevoked, CertificateExpired])
def test_an_issuer_that_makes_no_crl_any_more_lacks_none(inventory, end):
    for event in (signed("a", 100), crl("a", 7), end.model_construct(certificate_id="a")):
        inventory.apply(event)
    assert inventory.crls(NOW) == {}


def test_an_issuer_whose_end_has_come_lacks_no_crl_even_if_it_was_replaced_before(inventory):
    for event in (signed("a", 100), crl("a", 7), CertificateSuperseded.model_construct(certificate_id="a")):
        inventory.apply(event)
    inventory.apply(crl("a", 14))
    assert inventory.crls(NOW) == {"a": 14 * 86_400.0}
    assert inventory.crls(NOW + timedelta(days=100)) == {"a": -86 * 86_400.0}
    assert inventory.crls(NOW + timedelta(days=101)) == {}


async def test_counting_goes_on_whatever_goes_wrong_and_so_does_time(monkeypatch):
    turns = [None, RuntimeError("a bug"), Transient("away"), None]
    reported = []

    async def catch_up(_):
        if not turns:
            raise SystemExit
        if (trouble := turns.pop(0)) is not None:
            raise trouble

    monkeypatch.setattr(module.LogReader, "catch_up", catch_up)
    monkeypatch.setattr(module, "_report", lambda *told: reported.append(told))
    with pytest.raises(SystemExit):
        await report_forever(Mock(), interval_s=0)
    assert len(reported) == 4


def test_what_is_gone_is_not_told_any_more(monkeypatch, inventory):
    told = {}
    for name in ("_certificates", "_crls"):
        monkeypatch.setattr(module, name, Mock(set=lambda _, values, name=name: told.update({name: values})))
    inventory.apply(signed("a", 100))
    module._report(inventory, NOW)  # noqa: SLF001 - what is told
    assert told["_certificates"] == {(("cim.profile", "intermediate"), ("cim.expires_within_days", "365")): 1}
    inventory.reset()
    module._report(inventory, NOW)  # noqa: SLF001 - as above
    assert told == {"_certificates": {}, "_crls": {}}
