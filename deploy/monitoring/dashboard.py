"""``python -m deploy.monitoring.dashboard``: writes the Grafana dashboard. `make render` calls it.

Several processes export the same gauge with the same meaning: queries take its maximum. Counters and histograms are
summed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("dashboard.json")
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH, _HEIGHT = 8, 7
_COLUMNS = 24 // _WIDTH


@dataclass(frozen=True, slots=True)
class Panel:
    """A time series panel: pairs of legend and query; *unit* is one of Grafana's unit ids."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    stacked: bool = False


def _rate(metric: str, *by: str, where: str = "") -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}{where}[$__rate_interval]))"


def _quantile(quantile: float, metric: str, *by: str) -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', 'le', *by)})"


def _maximum(metric: str, *by: str) -> str:
    return f"max by ({', '.join(by)}) ({metric})"


_COMMANDS, _SAGAS = "cim_keys_command_duration_seconds", "cim_keys_saga_duration_seconds"
_HANDLING, _DEVICES = "messaging_process_duration_seconds", "cim_keys_device_operation_duration_seconds"

ROWS: dict[str, Sequence[Panel]] = {
    "Sagas": (
        Panel(
            "Finished",
            "ops",
            [("{{cim_saga_type}} {{cim_outcome}}", _rate(f"{_SAGAS}_count", "cim_saga_type", "cim_outcome"))],
        ),
        Panel(
            "Duration",
            "s",
            [
                ("p50 {{cim_saga_type}}", _quantile(0.5, _SAGAS, "cim_saga_type")),
                ("p99 {{cim_saga_type}}", _quantile(0.99, _SAGAS, "cim_saga_type")),
            ],
        ),
        Panel(
            "Unfinished",
            "short",
            [
                (
                    "{{cim_saga_type}} {{cim_saga_phase}}",
                    _maximum("cim_keys_saga_active", "cim_saga_type", "cim_saga_phase"),
                )
            ],
            stacked=True,
        ),
        Panel(
            "Age of the oldest unfinished",
            "s",
            [("{{cim_saga_type}}", _maximum("cim_keys_saga_oldest_seconds", "cim_saga_type"))],
        ),
        Panel(
            "Waiting for an operator",
            "short",
            [("{{cim_saga_type}}", _maximum("cim_keys_saga_stuck", "cim_saga_type"))],
        ),
    ),
    "Commands": (
        Panel("Completed", "ops", [("{{cim_command}}", _rate(f"{_COMMANDS}_count", "cim_command"))], stacked=True),
        Panel(
            "Rejected",
            "ops",
            [
                (
                    "{{cim_command}} {{cim_code}}",
                    _rate(f"{_COMMANDS}_count", "cim_command", "cim_code", where='{cim_code!=""}'),
                )
            ],
        ),
        Panel(
            "From stored to outcome",
            "s",
            [
                ("p50 {{cim_command}}", _quantile(0.5, _COMMANDS, "cim_command")),
                ("p99 {{cim_command}}", _quantile(0.99, _COMMANDS, "cim_command")),
            ],
        ),
    ),
    "Messages": (
        Panel(
            "Pending",
            "short",
            [
                (
                    "{{messaging_consumer_group_name}}",
                    _maximum("cim_keys_consumer_pending", "messaging_consumer_group_name"),
                )
            ],
        ),
        Panel(
            "In flight and redelivered",
            "short",
            [
                (
                    "{{messaging_consumer_group_name}}",
                    _maximum("cim_keys_consumer_ack_pending", "messaging_consumer_group_name"),
                ),
                (
                    "redelivered {{messaging_consumer_group_name}}",
                    _maximum("cim_keys_consumer_redelivered", "messaging_consumer_group_name"),
                ),
            ],
        ),
        Panel(
            "Handled",
            "ops",
            [("{{messaging_consumer_group_name}}", _rate(f"{_HANDLING}_count", "messaging_consumer_group_name"))],
            stacked=True,
        ),
        Panel(
            "Duration, p99",
            "s",
            [("{{messaging_destination_template}}", _quantile(0.99, _HANDLING, "messaging_destination_template"))],
        ),
        Panel(
            "Retried",
            "ops",
            [
                (
                    "{{messaging_consumer_group_name}} {{error_type}}",
                    _rate(
                        f"{_HANDLING}_count", "messaging_consumer_group_name", "error_type", where='{error_type!=""}'
                    ),
                )
            ],
        ),
        Panel(
            "Dead letters",
            "short",
            [
                (
                    "{{messaging_consumer_group_name}}",
                    "sum by (messaging_consumer_group_name) (cim_keys_dead_letters_total)",
                )
            ],
        ),
    ),
    "Certificates": (
        Panel(
            "By days to expiry",
            "short",
            [
                (
                    "{{cim_profile}} within {{cim_expires_within_days}}",
                    _maximum("cim_keys_certificates", "cim_profile", "cim_expires_within_days"),
                )
            ],
            stacked=True,
        ),
        Panel(
            "Remaining validity of CRLs",
            "s",
            [("{{cim_issuer_id}}", _maximum("cim_keys_crl_remaining_seconds", "cim_issuer_id"))],
        ),
    ),
    "Devices and connections": (
        Panel(
            "Operations",
            "ops",
            [("{{cim_operation}} {{cim_outcome}}", _rate(f"{_DEVICES}_count", "cim_operation", "cim_outcome"))],
        ),
        Panel("Duration, p99", "s", [("{{cim_operation}}", _quantile(0.99, _DEVICES, "cim_operation"))]),
        Panel("Reconnects", "short", [("{{job}}", "sum by (job) (cim_keys_nats_reconnects_total)")]),
    ),
}


def dashboard() -> dict[str, Any]:
    numbers, top, panels = count(1), 0, list[dict[str, Any]]()
    for title, row in ROWS.items():
        position = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append(
            {"id": next(numbers), "type": "row", "title": title, "collapsed": False, "gridPos": position, "panels": []}
        )
        for index, panel in enumerate(row):
            x, y = index % _COLUMNS * _WIDTH, top + 1 + index // _COLUMNS * _HEIGHT
            panels.append(_panel_json(panel, next(numbers), {"h": _HEIGHT, "w": _WIDTH, "x": x, "y": y}))
        top += 1 + -(-len(row) // _COLUMNS) * _HEIGHT
    return {
        "uid": "cim-keys",
        "title": "CIM Keys",
        "tags": ["cim-keys"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": panels,
    }


def _panel_json(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    stacking = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if panel.stacked else {}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": stacking}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries)
        ],
    }


def render() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
