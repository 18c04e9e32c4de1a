"""Shell blocks of documentation pages, run one after the other in one shell against a running suite."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MISSING = [tool for tool in ("bash", "openssl", "curl", "jq", "ssh-keygen") if shutil.which(tool) is None]
_PUBLISH = """#!{python}
import asyncio, os, sys, nats
async def main():
    client = await nats.connect(os.environ["NATS_URL"])
    await client.publish(sys.argv[2], sys.argv[3].encode())
    await client.drain()
assert sys.argv[1] == "pub"
asyncio.run(main())
"""


def blocks(page, heading=None):
    """Returns the shell blocks of a page, or of its section *heading*."""
    text = page.read_text()
    if heading is not None:
        text = re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


class Typist:
    """A shell that keeps variables and files between blocks; port 8080 is replaced by the suite's."""

    def __init__(self, suite, directory):
        self._suite, self._directory = suite, directory
        own = directory / ".venv" / "bin"
        own.mkdir(parents=True)
        for name, text in {
            "cim-keys": f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m services.console "$@"\n',
            "nats": _PUBLISH.format(python=sys.executable),
            "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        }.items():
            (own / name).write_text(text)
            (own / name).chmod(0o755)
        self._environment = {**os.environ, "NATS_URL": suite.local.url, "PATH": f"{own}:{os.environ['PATH']}"}

    async def type(self, block, within=60):
        """Runs a block; returns exit status and output."""
        block = block.replace("http://127.0.0.1:8080", self._suite.local.public_url)
        script = f"touch world; . ./world; set -eo pipefail -a\n{block}\nset +a; export -p > world\n"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=self._directory,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await asyncio.wait_for(process.communicate(), within))[0].decode(errors="replace")
        return process.returncode, output

    async def succeeds(self, block):
        """Executes the block until it succeeds; a block that changes something is executed only once."""
        is_read_only = not re.search(r"cim-keys|nats pub", block)
        for _ in range(40 if is_read_only else 1):
            status, output = await self.type(block)
            if status == 0:
                return output
            await asyncio.sleep(0.5)
        written = "".join(f"\n{path.name}: {path.read_text()}" for path in sorted(self._directory.glob("*.json")))
        raise AssertionError(f"{block}\n{output}{written}")
