"""Declaration of streams, buckets and consumers: creates missing ones and rejects different ones."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.errors import NoRespondersError

from shared.errors import Transient, Unusable
from shared.messages.catalog import Catalog, catalog

MIN_SERVER_VERSION = (2, 14, 0)
ACK_WAIT_S = 4.0
"""Time until in-flight messages of a killed process are redelivered; 30 s made recovery take 30 s."""
_NANOSECONDS = 1_000_000_000
_STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND = 10059, 10014
_UNAVAILABLE = 503
_DEADLINE_S, _TIMEOUT_S, _RETRY_S = 60.0, 4.0, 0.25

log = logging.getLogger(__name__)
Config = dict[str, Any]
_UNLIMITED: Config = {"max_msgs": -1, "max_bytes": -1, "max_msg_size": -1}
"""No limits that discard or reject messages; `declare` reports a limit that an operator has set."""


def stream_configs(declared: Catalog, replicas: int | None = None) -> dict[str, Config]:
    """JetStream configurations of all streams and buckets; *replicas* overrides streams.yaml."""
    streams = {
        name: {
            **stream.model_dump(exclude={"subjects_of", "duplicate_window", "max_age", "writers", "looked_up_by"}),
            "name": name,
            "subjects": sorted(declared.subjects_of(stream)),
            "duplicate_window": stream.duplicate_window * _NANOSECONDS,
            "max_age": stream.max_age * _NANOSECONDS,
            "max_msgs_per_subject": -1,
            **_UNLIMITED,
        }
        for name, stream in declared.streams.items()
    }
    buckets = {
        f"KV_{name}": {
            "name": f"KV_{name}",
            "subjects": [f"$KV.{name}.>"],
            "max_msgs_per_subject": bucket.history,
            "max_age": 0,
            "storage": bucket.storage,
            "num_replicas": bucket.num_replicas,
            "discard": "new",
            "allow_direct": True,
            "allow_rollup_hdrs": False,
            **_UNLIMITED,
        }
        for name, bucket in declared.buckets.items()
    }
    configs = streams | buckets
    return configs if replicas is None else {name: {**each, "num_replicas": replicas} for name, each in configs.items()}


def consumer_config(declared: Catalog, durable: str) -> Config:
    filters = sorted(declared.consumers[durable].filters)
    filtering = {"filter_subject": filters[0]} if len(filters) == 1 else {"filter_subjects": filters}
    return {
        "durable_name": durable,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "ack_wait": int(ACK_WAIT_S * _NANOSECONDS),
        "max_deliver": -1,
        "max_ack_pending": 4096,
        **filtering,
    }


def require_server(client: Client) -> None:
    """Raises Unusable for a server that is too old or runs without JetStream."""
    version = client.connected_server_version
    if (version.major, version.minor, version.patch) < MIN_SERVER_VERSION:
        raise Unusable(
            f"nats-server {version.major}.{version.minor}.{version.patch} is too old; "
            f"{'.'.join(map(str, MIN_SERVER_VERSION))} or newer is needed (scheduled messages, safe expectations)"
        )
    if "jetstream" not in client._server_info or not client._server_info["jetstream"]:  # noqa: SLF001 - not exposed
        raise Unusable("the nats-server runs without JetStream; start it with -js")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declaration:
    """API subjects, request and expected configuration of a stream or consumer, and its error code if missing."""

    info: str
    create: str
    request: Config
    config: Config
    missing: int


async def declare(client: Client, service: str | None = None, replicas: int | None = None) -> None:
    """Creates the missing streams and buckets, all or those of *service*. Raises Unusable if one differs.

    The number of replicas of an existing stream is the operator's decision and is not compared. Raises Transient
    after a minute without a reply.
    """
    configs = stream_configs(catalog(), replicas)
    single_copies = []
    for name in catalog().streams_of(service) if service in catalog().services else configs:
        config = configs[name]
        info, create = f"STREAM.INFO.{name}", f"STREAM.CREATE.{name}"
        actual = await _declare(
            client, _Declaration(info=info, create=create, request=config, config=config, missing=_STREAM_NOT_FOUND)
        )
        single_copies += [name] if actual["num_replicas"] == 1 else []
    if single_copies and replicas is None and client._server_info.get("cluster"):  # noqa: SLF001 - not exposed
        remedy = "to store it on three servers of the cluster: STREAM_REPLICAS=3 python -m deploy.declare"
        log.warning("only one server stores %s; %s", ", ".join(single_copies), remedy)


async def declare_all(client: Client, replicas: int | None = None) -> None:
    """Creates all streams, buckets and consumers, so that no service needs the permission; sets *replicas* of each."""
    require_server(client)
    await declare(client, replicas=replicas)
    if replicas is not None:
        for name, config in stream_configs(catalog(), replicas).items():
            await _replicate(client, name, config)
    for durable in catalog().consumers:
        await declare_consumer(client, durable)


async def declare_consumer(client: Client, durable: str) -> str:
    """Creates the durable consumer if it is missing; returns its stream."""
    stream, config = catalog().consumers[durable].stream, consumer_config(catalog(), durable)
    request = {"stream_name": stream, "config": config, "action": "create"}
    info, create = f"CONSUMER.INFO.{stream}.{durable}", f"CONSUMER.CREATE.{stream}.{durable}"
    if "filter_subject" in config:
        create += f".{config['filter_subject']}"
    await _declare(
        client, _Declaration(info=info, create=create, request=request, config=config, missing=_CONSUMER_NOT_FOUND)
    )
    return stream


async def _replicate(client: Client, name: str, config: Config) -> None:
    actual = (await _api(client, f"STREAM.INFO.{name}", {}))["config"]
    if actual["num_replicas"] == config["num_replicas"]:
        return
    answer = await _api(client, f"STREAM.UPDATE.{name}", {**actual, "num_replicas": config["num_replicas"]})
    if "error" in answer:
        change = f"{name} on {config['num_replicas']} servers"
        raise Unusable(f"{change} was rejected: {answer['error'].get('description')}")


async def _declare(client: Client, declaration: _Declaration) -> Config:
    answer = await _api(client, declaration.info, {})
    if answer.get("error", {}).get("err_code") == declaration.missing:
        answer = await _api(client, declaration.create, declaration.request)
        if "error" in answer:  # another process may have created it first
            error, answer = answer["error"], await _api(client, declaration.info, {})
            if "error" in answer:
                raise Unusable(f"{declaration.create} was rejected: {error.get('description')}")
    elif "error" in answer:
        raise Unusable(f"{declaration.info} was rejected: {answer['error'].get('description')}")
    if differences := _differences(declaration.config, answer["config"]):
        name = declaration.info.split(".", 2)[2]
        raise Unusable(f"{name} differs from streams.yaml: {'; '.join(differences)}")
    actual: Config = answer["config"]
    return actual


def _differences(declaration: Config, found: Config) -> list[str]:
    def normal(value: Any) -> Any:
        return sorted(value) if isinstance(value, list) else value

    return [
        f"{key} is {found.get(key)!r}, not {value!r}"
        for key, value in declaration.items()
        if key != "num_replicas" and normal(found.get(key, type(value)())) != normal(value)
    ]


async def _api(client: Client, subject: str, request: Config) -> Config:
    """Calls the JetStream API, with retries for a minute while a cluster elects its leaders; then raises Transient."""
    problem, deadline = "no reply", asyncio.get_running_loop().time() + _DEADLINE_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            answer = await client.request(f"$JS.API.{subject}", json.dumps(request).encode(), timeout=_TIMEOUT_S)
        except NoRespondersError:
            raise Unusable("JetStream is not enabled for this account on the nats-server") from None
        except TimeoutError:
            await asyncio.sleep(_RETRY_S)
        else:
            decoded: Config = json.loads(answer.data)
            if decoded.get("error", {}).get("code") != _UNAVAILABLE:
                return decoded
            problem = decoded["error"].get("description", problem)
            await asyncio.sleep(_RETRY_S)
    raise Transient(f"JetStream does not reply to {subject}: {problem}")
