"""``cim-keys``: what is typed becomes a call of the console's other modules. The only reader of the environment."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError
from rich.console import Console

from services.console import fields, sagas
from services.console.client import Ask, Exit, Failure, connected, places, post, send
from services.console.fields import WrongUsage
from services.console.heard import Heard
from services.console.text import columns, printable, say, succeeded, summary
from services.console.watch import Lines, Wanted, watch
from shared.catalog import COMMANDS, catalog

_LONGEST_ACTOR = 256
_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(f"{message} ({self.prog} --help says more)")


class Console_:
    pass
