"""A cluster of three nats-servers in network namespaces behind one bridge, for faults.

Servers can be killed, partitioned and given an empty disk. A partition drops packets without a reset. It needs root
and iproute2.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.nats import BINARY
from tests.support.waiting import until

NODES = (1, 2, 3)


def missing():
    """Returns the reason why no cluster can run here; None: it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "left out: three servers on networks of their own need root and iproute2"
    return None


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Node:
    def __init__(self, number, names, directory):
        self.number = number
        self._names, self._directory = names, directory / f"n{number}"
        self.process = None

    @property
    def name(self):
        return f"n{self.number}"

    @property
    def address(self):
        return self._names.address(self.number)

    def start(self):
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "nats.conf"
        routes = [f"nats://{self._names.address(other)}:6222" for other in NODES]
        configuration = {
            "server_name": self.name,
            "listen": f"{self.address}:4222",
            "http": f"{self.address}:8222",
            "ping_interval": "2s",
            "ping_max": 2,
            "jetstream": {"store_dir": str(self._directory / "store")},
            "cluster": {"name": "cim", "listen": f"{self.address}:6222", "routes": routes, "no_advertise": True},
        }
        config.write_text(json.dumps(configuration))
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self._names.space(self.number), str(BINARY), "-c", str(config)],
                stdout=log,
                stderr=log,
            )

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wipe(self):
        """Deletes the store of a stopped node."""
        shutil.rmtree(self._directory / "store")

    def cut_off(self):
        """Takes the network interface down, like a pulled cable."""
        _ip("-n", self._names.space(self.number), "link", "set", "eth0", "down")

    def cut_off_from(self, *others):
        """Drops packets to *others*; the remaining nodes still receive them."""
        for other in others:
            _ip("-n", self._names.space(self.number), "route", "add", "blackhole", f"{other.address}/32")

    def heal(self):
        space = self._names.space(self.number)
        _ip("-n", space, "link", "set", "eth0", "up")
        for other in NODES:
            subprocess.run(
                ["ip", "-n", space, "route", "del", "blackhole", f"{self._names.address(other)}/32"],
                check=False,
                capture_output=True,
            )

    async def monitoring(self, path):
        """Reads a page of the monitoring port. Raises OSError while it does not respond."""

        def fetched():
            with urllib.request.urlopen(f"http://{self.address}:8222{path}", timeout=2) as answer:
                return json.load(answer)

        return await asyncio.to_thread(fetched)

    async def is_healthy(self):
        """Returns true if `/healthz` reports it up and its replicas current."""
        try:
            return (await self.monitoring("/healthz"))["status"] == "ok"
        except OSError:
            return False


class _Names:
    """Names of one cluster, unique so that tests can run in parallel."""

    def __init__(self):
        self._mark = os.getpid() % 200 + 20
        self.bridge = f"cim{self._mark}"

    def address(self, number):
        return f"10.213.{self._mark}.{number}"

    def space(self, number):
        return f"cim{self._mark}n{number}"

    def cable(self, number):
        return f"cim{self._mark}v{number}"


class Cluster:
    def __init__(self, directory):
        self._names = _Names()
        self.nodes = [Node(number, self._names, directory) for number in NODES]

    @property
    def url(self):
        return ",".join(f"nats://{node.address}:4222" for node in self.nodes)

    def plug(self):
        names = self._names
        self.unplug()
        _ip("link", "add", names.bridge, "type", "bridge")
        _ip("addr", "add", f"{names.address(254)}/24", "dev", names.bridge)
        _ip("link", "set", names.bridge, "up")
        for number in NODES:
            space, cable = names.space(number), names.cable(number)
            _ip("netns", "add", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", names.bridge, "up")
            _ip("-n", space, "addr", "add", f"{names.address(number)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def unplug(self):
        for number in NODES:
            subprocess.run(["ip", "netns", "del", self._names.space(number)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._names.bridge], check=False, capture_output=True)

    async def healthy(self, within=60):
        async def all_are():
            return all(await asyncio.gather(*(node.is_healthy() for node in self.nodes)))

        await until(all_are, within=within)

    async def leader_of(self, client, stream):
        """Returns the leader of *stream*."""
        answer = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)).data)
        return next(node for node in self.nodes if node.name == answer["cluster"]["leader"])


@asynccontextmanager
async def cluster_up(directory: Path):
    cluster = Cluster(directory)
    cluster.plug()
    try:
        for node in cluster.nodes:
            node.start()
        await cluster.healthy()
        yield cluster
    finally:
        for node in cluster.nodes:
            if node.process is not None and node.process.poll() is None:
                node.kill()
        cluster.unplug()
