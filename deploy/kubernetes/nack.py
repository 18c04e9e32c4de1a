"""Resources of NACK, NATS's controller for Kubernetes, generated from streams.yaml by `make render`.

Buckets are Stream resources, too: NACK's KeyValue resource enables rollups, which the suite's buckets must not have
(docs/adr/0003).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from shared.messages.catalog import Catalog, catalog
from shared.nats.streams import consumer_config, stream_configs

PAGE = Path(__file__).parent / "components" / "nack" / "streams.yaml"
REPLICAS = 3
HEADER = "# Written by `make render` from streams.yaml. Not to be edited.\n"

STREAM_FIELDS = {
    "name": "name",
    "subjects": "subjects",
    "retention": "retention",
    "storage": "storage",
    "num_replicas": "replicas",
    "duplicate_window": "duplicateWindow",
    "max_age": "maxAge",
    "max_msgs": "maxMsgs",
    "max_bytes": "maxBytes",
    "max_msg_size": "maxMsgSize",
    "max_msgs_per_subject": "maxMsgsPerSubject",
    "discard": "discard",
    "deny_delete": "denyDelete",
    "deny_purge": "denyPurge",
    "allow_direct": "allowDirect",
    "allow_msg_schedules": "allowMsgSchedules",
    "allow_rollup_hdrs": "allowRollup",
}
CONSUMER_FIELDS = {
    "durable_name": "durableName",
    "ack_policy": "ackPolicy",
    "deliver_policy": "deliverPolicy",
    "ack_wait": "ackWait",
    "max_deliver": "maxDeliver",
    "max_ack_pending": "maxAckPending",
    "filter_subject": "filterSubject",
    "filter_subjects": "filterSubjects",
}
"""Names of settings in the JetStream API and in NACK; a setting missing here fails the rendering."""
DURATIONS = {"duplicate_window", "max_age", "ack_wait"}


def page(catalog: Catalog) -> str:
    return HEADER + yaml.safe_dump_all(resources(catalog), sort_keys=False, width=120)


def resources(catalog: Catalog) -> list[dict[str, Any]]:
    streams = [
        _resource("Stream", name, _spec({**config, "num_replicas": REPLICAS}, STREAM_FIELDS))
        for name, config in stream_configs(catalog).items()
    ]
    consumers = [
        _resource("Consumer", name, {"streamName": consumer.stream, **_spec(config, CONSUMER_FIELDS)})
        for name, consumer in catalog.consumers.items()
        for config in (consumer_config(catalog, name),)
    ]
    return streams + consumers


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Returns a resource with preventDelete: otherwise deleting it would delete the stream's messages."""
    metadata = {"name": name.lower().replace("_", "-")}
    spec = {**spec, "preventDelete": True}
    return {"apiVersion": "jetstream.nats.io/v1beta2", "kind": kind, "metadata": metadata, "spec": spec}


def _spec(config: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    return {fields[key]: _duration(value) if key in DURATIONS else value for key, value in config.items()}


def _duration(nanoseconds: int) -> str:
    return f"{nanoseconds // 1_000_000_000}s"


if __name__ == "__main__":
    PAGE.write_text(page(catalog()))
