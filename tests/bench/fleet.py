"""Fifty virtual devices provisioned at once, beside what the same APDUs cost without service, saga or log.

``python -m tests.bench.fleet``. The saga is `certificate-provisioning` with the key made on the device; P-256, slot 9a.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec

from services.yubikey.piv.authentication import authenticate
from services.yubikey.piv.session import CandidateSecrets, open_piv
from services.yubikey.readers.virtual import VirtualDevices
from shared.contracts.key.value_types import Algorithm
from shared.contracts.yubikey.slots import PinPolicy, Slot, TouchPolicy
from tests.bench import processor
from tests.bench.load import closed_loop
from tests.bench.suite import FIRST_SERIAL, bootstrap, suite_up
from tests.support.nats import connected
from tests.support.yubikeys import certify

DEVICES, ROUNDS = 50, 4
FACTORY = CandidateSecrets((bytes(range(1, 9)) * 3,))


@dataclass(frozen=True)
class Fleet:
    """*raw_rate*: devices a second by their APDUs alone, one thread, as the sagas ask for them."""

    devices: int
    provisioned: int
    rate: float
    p50_ms: float
    p99_ms: float
    raw_rate: float
    apdus: int
    processor_us: dict[str, int]

    @property
    def ratio(self) -> float:
        return self.rate / self.raw_rate

    def told(self) -> dict[str, object]:
        return asdict(self) | {"ratio": round(self.ratio, 2)}


async def measure(client, issuer: str, scale: float = 1.0) -> Fleet:
    """*client*: of a suite in which devices from FIRST_SERIAL on are plugged in; *issuer*: who certifies."""
    apdus, raw = await asyncio.to_thread(raw_cost)

    def start(number: int, saga: str) -> tuple[str, bytes, dict[str, str]]:
        body = {
            "saga_id": saga,
            "issuer_id": issuer,
            "subject": {"common_name": f"Person {number}"},
            "purpose": "authentication",
            "yubikey_serial": str(FIRST_SERIAL + number % DEVICES),
            "replace": True,
            "key_origin": "on-device",
            "validity_days": 365,
        }
        return "keys.commands.saga.certificate-provisioning.start", json.dumps(body).encode(), {}

    await closed_loop(client, DEVICES, DEVICES, start, "keys.events.saga.*.*.*")  # devices are made when first opened
    number = max(int(DEVICES * ROUNDS * scale), DEVICES)
    before = processor.spent()
    sagas = await closed_loop(client, number, DEVICES, start, "keys.events.saga.*.*.*")
    spent = {name: round(each / number * 1e6) for name, each in processor.since(before).items()}
    if sagas.not_completed:
        raise SystemExit(f"{sagas.not_completed} of {number} provisionings did not complete")
    p50, p99 = (round(sagas.percentile(share), 1) for share in (0.5, 0.99))
    return Fleet(DEVICES, number, sagas.rate, p50, p99, DEVICES / raw, apdus, spent)


def raw_cost() -> tuple[int, float]:
    """APDUs of one provisioning, and the seconds in which DEVICES devices answer them, one device after the other."""
    with tempfile.TemporaryDirectory() as directory:
        serials = range(FIRST_SERIAL, FIRST_SERIAL + DEVICES)
        devices, issuer = VirtualDevices(Path(directory), bytes(32), serials), ec.generate_private_key(ec.SECP256R1())
        counted = _Counting(devices)
        for serial in serials:
            devices.open(serial).close()
        with ThreadPoolExecutor(1) as one:
            began = time.perf_counter()
            for serial in serials:
                one.submit(_provision, counted, serial, issuer).result()
            return counted.apdus // DEVICES, time.perf_counter() - began


def _provision(devices: _Counting, serial: int, issuer) -> None:
    """Runs the device operations of the saga's steps: inspect, generate, attest, import, verify."""
    slot, algorithm, policies = Slot.AUTHENTICATION, Algorithm.EC_P256, (PinPolicy.ONCE, TouchPolicy.NEVER)

    def conversation(work: Callable) -> object:
        with open_piv(devices.open(serial), serial, devices, FACTORY) as device:
            return work(device)

    conversation(lambda device: (device.read(slot), authenticate(device)))

    def generate(device):
        authenticate(device)
        device.fill(slot, algorithm, *policies, None)
        return device.read(slot).key, device.statement(slot)

    key, _ = conversation(generate)
    conversation(lambda device: device.verify_statement(slot, device.read(slot).key, device.statement(slot)))
    certificate = certify(key.public_key, issuer)

    def put(device):
        device.read(slot)
        authenticate(device)
        device.put_certificate(slot, certificate)

    conversation(put)
    conversation(lambda device: device.read(slot))


class _Counting:
    """The devices, with their APDUs counted."""

    def __init__(self, devices: VirtualDevices) -> None:
        self._devices = devices
        self.simulated, self.trust, self.apdus = devices.simulated, devices.trust, 0

    def open(self, serial: int):
        connection = self._devices.open(serial)
        exchange = connection.send_and_receive

        def counted(apdu: bytes) -> tuple[bytes, int]:
            self.apdus += 1
            return exchange(apdu)

        connection.send_and_receive = counted
        return connection


def report(fleet: Fleet) -> None:
    each = ", ".join(f"{name} {spent}" for name, spent in fleet.processor_us.items() if spent)
    print(
        f"{fleet.devices} virtual devices at once: {fleet.rate:.0f} provisionings/s ({fleet.provisioned}), "
        f"p50 {fleet.p50_ms:.0f} ms, p99 {fleet.p99_ms:.0f} ms; their {fleet.apdus} APDUs alone, on one core: "
        f"{fleet.raw_rate:.0f}/s, so {fleet.ratio:.2f} of it\n  processor time of one, µs: {each}"
    )


async def main() -> None:
    async with suite_up(None) as url, connected(url) as client:
        report(await measure(client, await bootstrap(client)))


if __name__ == "__main__":
    uvloop.run(main())
