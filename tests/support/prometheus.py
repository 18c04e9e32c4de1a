"""A Prometheus with the suite's rules that scrapes the test collector, and promtool."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.nats import free_port
from tests.support.waiting import until

_BESIDE_PYTHON = Path(sys.prefix) / "prometheus"


def tool(name):
    """Returns the program's path from .ci/prometheus or PATH; None: not found."""
    own = _BESIDE_PYTHON / name
    return str(own) if own.exists() else shutil.which(name)


def missing():
    """Returns the skipped tests and the reason in one line; None: nothing is missing."""
    if tool("prometheus") and tool("promtool"):
        return None
    return "left out: alerts and dashboard in a Prometheus: .ci/prometheus fetches one (Debian)"


class Prometheus:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    async def query(self, expression):
        """Evaluates *expression* now; returns its series."""
        answer = await self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        return answer["result"]

    async def get(self, path):
        def fetched():
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310 - http, see above
                return json.load(answer)["data"]

        return await asyncio.to_thread(fetched)

    async def is_ready(self):
        try:
            await self.get("/api/v1/rules")
        except OSError:
            return False
        return True


@asynccontextmanager
async def prometheus_up(directory, rules, collector):
    """Runs a Prometheus that scrapes *collector* each second, like the one of docker-compose.yml."""
    port, config = free_port(), directory / "prometheus.yml"
    job = {"job_name": "cim-keys", "honor_labels": True, "scrape_interval": "1s"}
    job["static_configs"] = [{"targets": [f"127.0.0.1:{collector.port}"]}]
    configuration = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(rules)], "scrape_configs": [job]}
    config.write_text(json.dumps(configuration))
    command = [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        prometheus = Prometheus(port)
        await until(prometheus.is_ready, within=30)
        yield prometheus
    finally:
        process.terminate()
        process.wait()
