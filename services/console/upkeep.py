"""What an operator does beside sending commands: secrets of devices, and dead letters."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from services.console import devices, letters
from services.console.client import Ask, Exit, Failure, send
from services.console.heard import Heard
from services.console.terminal import Terminal
from services.console.text import succeeded
from shared.contracts.yubikey_secrets import DeviceSecret
from shared.dead_letters import told as line_of


async def of_devices(terminal: Terminal, options: Namespace) -> int:
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:

        async def ask(command: str, body: dict[str, Any]) -> Heard:
            return await send(client, Ask(command, body, terminal.actor), options.timeout, problems)

        match options.do:
            case "reveal":
                told = await devices.revealed(ask, options.serial, DeviceSecret(options.secret))
                if isinstance(told, str):
                    terminal.print([told])
                    return Exit.DONE
            case "choose":
                typed = devices.asked(options.secret.upper())
                told = await devices.chosen(ask, options.serial, DeviceSecret(options.secret), typed)
            case _:
                told = await devices.answered(client.jetstream(), ask, options.prompt, devices.asked("PIN"))
        return terminal.outcome(told, options.output, good=succeeded(told))


async def of_dead_letters(terminal: Terminal, options: Namespace) -> int:
    problems: list[str] = []
    async with terminal.connected(problems.append) as client:
        if options.do == "list":
            found = await letters.listed(client)
            if options.json:
                terminal.raw(json.dumps([line_of(letter) for letter in found]).encode())
            else:
                terminal.print(letters.table(found))
            return Exit.DONE
        letter = await letters.find(client, options.letter)
        match options.do:
            case "show":
                terminal.print(letters.at_length(letter, body=options.body))
            case "drop":
                await letters.drop(client, letter)
            case _:
                if (ask := letters.asked_again(letter, terminal.actor)) is not None:
                    event = await send(client, ask, options.timeout, problems)
                    if succeeded(event):
                        await letters.drop(client, letter)
                    return terminal.outcome(event, options.output, good=succeeded(event))
                if (problem := await letters.hand_back(client, letter)) is not None:
                    raise Failure(Exit.NOT_DONE, f"it is not processed, and stays: {problem}")
    return Exit.DONE
