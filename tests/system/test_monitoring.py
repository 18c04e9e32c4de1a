"""Alerts and dashboard: promtool checks the rules, Prometheus evaluates every query on a working suite."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.monitoring.dashboard import ROWS
from tests.support.collector import collecting
from tests.support.prometheus import missing, prometheus_up, tool
from tests.support.suite import suite_up
from tests.support.waiting import until

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "alerts.yaml"
QUERIES = [(title, panel.title, query) for title, row in ROWS.items() for panel in row for _, query in panel.queries]

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def promtool(*arguments):
    return subprocess.run([tool("promtool"), *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)


def test_each_alert_comes_when_it_should_and_not_before():
    assert promtool("check", "rules", "alerts.yaml").returncode == 0
    judged = promtool("test", "rules", "alerts.test.yaml")
    assert judged.returncode == 0, judged.stdout + judged.stderr
    tests = (MONITORING / "alerts.test.yaml").read_text()
    alerts = [line.split()[-1] for line in RULES.read_text().splitlines() if line.strip().startswith("- alert:")]
    assert len(alerts) == 11
    assert [alert for alert in alerts if f"alertname: {alert}\n        exp_alerts:" not in tests] == []


async def troubled(suite):
    """Every kind of thing that operators are told of: what is done, refused, undone, put off and given up."""
    await suite.bootstrap()
    assert (await suite.end_of(await suite.provision(yubikey_serial="42000001"))).tokens[4] == "completed"
    assert (await suite.end_of(await suite.provision(doomed=True, yubikey_serial="42000002"))).tokens[
        4
    ] == "compensated"
    refused = await suite.ask("key.revoke", {"key_id": str(uuid4()), "reason": "superseded"})
    assert refused.tokens[3] == "rejected"
    crl = await suite.end_of(await suite.start_saga("crl-publication", issuer_id=suite.issuer_id))
    assert crl.tokens[4] == "completed"
    about = {name: str(uuid4()) for name in ("CIM-Event-Id", "CIM-Correlation-Id", "CIM-Causation-Id")}
    junk = {**about, "CIM-Event-Type": "KeyGenerated", "CIM-Saga-Id": "x", "CIM-Saga-Type": "y"}
    await suite.client.jetstream().publish(f"keys.events.key.generated.{uuid4()}", b"rubbish", headers=junk)
    unborn = {"CIM-Command-Type": "StartNothing", "CIM-Command-Id": str(uuid4())}
    await suite.client.jetstream().publish(f"keys.timers.{uuid4()}.due", b"{}", headers=unborn)
    # the server is away for a moment: connections are made again
    server = suite.pid("nats")
    os.kill(server, signal.SIGKILL)
    await until(lambda: suite.pid("nats") != server, within=20)


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
async def test_every_query_of_the_dashboard_shows_something_of_a_suite_at_work_and_no_rule_is_broken(tmp_path):
    with collecting() as collector:
        async with (
            prometheus_up(tmp_path, RULES, collector) as prometheus,
            suite_up(tmp_path / "suite", [42000001, 42000002], choices=collector.environment) as suite,
        ):
            await troubled(suite)

            async def shows(query):
                return bool(await prometheus.query(query.replace("$__rate_interval", "2m")))

            async def nothing_is_empty():
                shown = await asyncio.gather(*(shows(query) for _, _, query in QUERIES))
                empty[:] = [each for each, is_shown in zip(QUERIES, shown, strict=True) if not is_shown]
                return not empty

            empty = []
            try:
                await until(nothing_is_empty, within=100)
            except TimeoutError:
                assert empty == []
            groups = (await prometheus.get("/api/v1/rules"))["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert {(rule["name"], rule["health"]) for rule in rules} == {(rule["name"], "ok") for rule in rules}
            assert "MessageGivenUp" in {rule["name"] for rule in rules if rule["state"] in {"pending", "firing"}}
