"""What streams.yaml says, held against what the server has: missing things are created, different ones are refused."""

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
"""Seconds until what a killed process had in hand is delivered again (facts.md: 30 s made recovery take 30 s)."""
_NANOSECONDS = 1_000_000_000
_STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND = 10059, 10014
_UNAVAILABLE = 503
_MINUTE, _ASKING, _AGAIN = 60.0, 4.0, 0.25

log = logging.getLogger(__name__)
Config = dict[str, Any]
_UNLIMITED: Config = {"max_msgs": -1, "max_bytes": -1, "max_msg_size": -1}
"""No limit that throws messages away or refuses them; an operator who sets one is told so (streams.yaml)."""


def stream_configs(catalog: Catalog, replicas: int | None = None) -> dict[str, Config]:
    """The streams and the buckets' streams in the words of the JetStream API; *replicas*: not as streams.yaml says."""
    streams = {
        name: {
            **stream.model_dump(exclude={"subjects_of", "duplicate_window", "max_age", "writers", "looked_up_by"}),
            "name": name,
            "subjects": sorted(catalog.subjects_of(stream)),
            "duplicate_window": stream.duplicate_window * _NANOSECONDS,
            "max_age": stream.max_age * _NANOSECONDS,
            "max_msgs_per_subject": -1,
            **_UNLIMITED,
        }
        for name, stream in catalog.streams.items()
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
        for name, bucket in catalog.buckets.items()
    }
    configs = streams | buckets
    return configs if replicas is None else {name: {**each, "num_replicas": replicas} for name, each in configs.items()}


def consumer_config(catalog: Catalog, durable: str) -> Config:
    filters = sorted(catalog.consumers[durable].filters)
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
    """Raises Unusable for a server that cannot do what the suite rests on."""
    version = client.connected_server_version
    if (version.major, version.minor, version.patch) < MIN_SERVER_VERSION:
        raise Unusable(
            f"nats-server {version.major}.{version.minor}.{version.patch} is too old; "
            f"{'.'.join(map(str, MIN_SERVER_VERSION))} or newer is needed (scheduled messages, safe expectations)"
        )
    if "jetstream" not in client._server_info or not client._server_info["jetstream"]:  # noqa: SLF001 - not exposed
        raise Unusable("the nats-server runs without JetStream; start it with -js")


@dataclass(frozen=True, slots=True)
class _Declaration:
    """How JetStream's API tells of a thing, creates it, and says that it is not there."""

    info: str
    create: str
    request: Config
    config: Config
    missing: int


async def declare(client: Client, service: str | None = None, replicas: int | None = None) -> None:
    """Create the streams and buckets that are missing, all or those of *service*; raise Unusable where one differs.

    On how many servers what stands is kept is nobody's business but the operator's. Raises Transient when nobody
    answers for a minute.
    """
    configs = stream_configs(catalog(), replicas)
    kept_once = []
    for name in catalog().streams_of(service) if service in catalog().services else configs:
        config = configs[name]
        info, create = f"STREAM.INFO.{name}", f"STREAM.CREATE.{name}"
        standing = await _declare(client, _Declaration(info, create, config, config, _STREAM_NOT_FOUND))
        kept_once += [name] if standing["num_replicas"] == 1 else []
    if kept_once and replicas is None and client._server_info.get("cluster"):  # noqa: SLF001 - not exposed
        where = "one server of the cluster alone; STREAM_REPLICAS=3 python -m deploy.declare has three keep it"
        log.warning("%s: kept by %s", ", ".join(kept_once), where)


async def declare_all(client: Client, replicas: int | None = None) -> None:
    """Have the server hold all that streams.yaml says, so that nobody else must be allowed to; each of it on as many
    servers as *replicas* says, what stands already too."""
    require_server(client)
    await declare(client, replicas=replicas)
    if replicas is not None:
        for name, config in stream_configs(catalog(), replicas).items():
            await _replicate(client, name, config)
    for durable in catalog().consumers:
        await declare_consumer(client, durable)


async def declare_consumer(client: Client, durable: str) -> str:
    """Create the durable consumer if it is missing; returns the stream it reads."""
    stream, config = catalog().consumers[durable].stream, consumer_config(catalog(), durable)
    request = {"stream_name": stream, "config": config, "action": "create"}
    info, create = f"CONSUMER.INFO.{stream}.{durable}", f"CONSUMER.CREATE.{stream}.{durable}"
    if "filter_subject" in config:
        create += f".{config['filter_subject']}"
    await _declare(client, _Declaration(info, create, request, config, _CONSUMER_NOT_FOUND))
    return stream


async def _replicate(client: Client, name: str, config: Config) -> None:
    standing = (await _api(client, f"STREAM.INFO.{name}", {}))["config"]
    if standing["num_replicas"] == config["num_replicas"]:
        return
    answer = await _api(client, f"STREAM.UPDATE.{name}", {**standing, "num_replicas": config["num_replicas"]})
    if "error" in answer:
        wish = f"{name} on {config['num_replicas']} servers"
        raise Unusable(f"{wish} was refused: {answer['error'].get('description')}")


async def _declare(client: Client, wanted: _Declaration) -> Config:
    answer = await _api(client, wanted.info, {})
    if answer.get("error", {}).get("err_code") == wanted.missing:
        answer = await _api(client, wanted.create, wanted.request)
        if "error" in answer:  # a sibling may have been faster; whatever stands now is what counts
            refused, answer = answer["error"], await _api(client, wanted.info, {})
            if "error" in answer:
                raise Unusable(f"{wanted.create} was refused: {refused.get('description')}")
    elif "error" in answer:
        raise Unusable(f"{wanted.info} was refused: {answer['error'].get('description')}")
    if differences := _differences(wanted.config, answer["config"]):
        name = wanted.info.split(".", 2)[2]
        raise Unusable(f"{name} is not what streams.yaml says: {'; '.join(differences)}")
    standing: Config = answer["config"]
    return standing


def _differences(wanted: Config, found: Config) -> list[str]:
    def normal(value: Any) -> Any:
        return sorted(value) if isinstance(value, list) else value

    return [
        f"{key} is {found.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if key != "num_replicas" and normal(found.get(key, type(value)())) != normal(value)
    ]


async def _api(client: Client, subject: str, request: Config) -> Config:
    """Raises Transient when a minute passes in which nobody answers, or nobody can: a cluster chooses its leaders."""
    problem, until = "nobody answers", asyncio.get_running_loop().time() + _MINUTE
    while asyncio.get_running_loop().time() < until:
        try:
            answer = await client.request(f"$JS.API.{subject}", json.dumps(request).encode(), timeout=_ASKING)
        except NoRespondersError:
            raise Unusable("JetStream is not enabled for this account on the nats-server") from None
        except TimeoutError:
            await asyncio.sleep(_AGAIN)
        else:
            decoded: Config = json.loads(answer.data)
            if decoded.get("error", {}).get("code") != _UNAVAILABLE:
                return decoded
            problem = decoded["error"].get("description", problem)
            await asyncio.sleep(_AGAIN)
    raise Transient(f"JetStream does not answer {subject}: {problem}")
