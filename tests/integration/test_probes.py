"""Probes of a process: live and ready are true, whatever server, streams and strangers do."""

import asyncio
import json
import signal
import subprocess
from contextlib import asynccontextmanager

import pytest

from deploy.settings import SERVICES, LocalSuite
from shared.nats.streams import declare, declare_consumer
from shared.process.subscriber import ConsumerProgress
from tests.support.consuming import subscribed
from tests.support.nats import NatsServer, free_port
from tests.support.waiting import until

LIVE, READY = (200, "live"), (200, "ready")


class Process:
    """One service as a process of its own, and its probes."""

    def __init__(self, name, server, directory, **settings):
        self._suite = LocalSuite(directory / name, port=server.port, http_port=free_port())
        self._suite.prepare()
        self.port, self._name, self._settings = free_port(), name, settings
        self.process = None

    def start(self):
        environment = {**self._suite.environment(self._name), "HEALTH_PORT": str(self.port), **self._settings}
        with self._suite.log(self._name).open("ab") as log:
            self.process = subprocess.Popen(self._suite.command(self._name), env=environment, stdout=log, stderr=log)

    @property
    def said(self):
        return self._suite.log(self._name).read_text()

    async def asked(self, path):
        """The status and the text that *path* is answered with; None: nobody answers."""
        answer = await self.sent(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        head, _, text = answer.decode().partition("\r\n\r\n")
        return (int(head.split()[1]), text.strip()) if head else None

    async def sent(self, request):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return b""
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionResetError:  # what was not read of the request is refused with the connection
            return b""
        finally:
            writer.close()

    async def answers(self, path, expected):
        async def it_does():
            return await self.asked(path) == expected

        await until(it_does, within=30)

    async def is_not_ready_because(self, problem):
        async def it_says_so():
            answer = await self.asked("/readyz")
            return answer is not None and answer[0] == 503 and problem in answer[1]

        await until(it_says_so, within=30)


@asynccontextmanager
async def running(name, server, directory, **settings):
    service = Process(name, server, directory, **settings)
    service.start()
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_that_serves_is_live_and_ready(name, server, client, tmp_path):
    await declare(client)  # the repository creates nothing
    async with running(name, server, tmp_path) as service:
        await service.answers("/readyz", READY)
        assert await service.asked("/livez") == LIVE


@pytest.mark.parametrize("name", ["key", "repository"])
async def test_without_a_server_it_lives_on_and_says_that_it_is_not_ready_until_one_is_there_again(name, tmp_path):
    server = NatsServer(tmp_path / "jetstream")
    async with running(name, server, tmp_path) as service:
        await service.answers("/livez", LIVE)
        assert (await service.asked("/readyz"))[0] == 503
        await server.start()
        try:
            if name == "repository":
                async with running("key", server, tmp_path):  # whoever comes first declares the buckets
                    await service.answers("/readyz", READY)
            await service.answers("/readyz", READY)
            server.kill()
            await service.is_not_ready_because("connect")
            assert await service.asked("/livez") == LIVE
            await server.start()
            await service.answers("/readyz", READY)
        finally:
            server.stop()


async def test_a_service_whose_consumer_was_taken_away_says_so(server, client, tmp_path):
    async with running("key", server, tmp_path) as service:
        await service.answers("/readyz", READY)
        await client.jetstream().delete_consumer("KEYS_COMMANDS", "key")
        await service.is_not_ready_because("key: consumer not found")
        assert await service.asked("/livez") == LIVE


async def test_streams_that_are_not_as_declared_are_no_reason_to_call_it_ready(server, client, tmp_path):
    await client.jetstream().add_stream(name="KEYS_COMMANDS", subjects=["keys.commands.>"])
    async with running("key", server, tmp_path) as service:
        answers = []
        while service.process.poll() is None:
            answers.append(await service.asked("/readyz"))
            await asyncio.sleep(0.01)
    assert service.process.returncode == 78
    assert READY not in answers
    assert "KEYS_COMMANDS differs from streams.yaml" in service.said


async def test_a_consumer_knows_what_it_has_yet_to_hear_and_what_is_in_hand(client):
    await declare(client)
    await declare_consumer(client, "key")
    held = asyncio.Event()

    async def hold(_):
        await held.wait()

    consumer = await subscribed(client, hold, limit=2)
    await consumer.start()
    await asyncio.gather(*(client.jetstream().publish("keys.commands.key.generate", b"{}") for _ in range(9)))

    async def seven_are_waiting():
        return await consumer.progress() == ConsumerProgress(pending=7, ack_pending=2, redelivered=0)

    await until(seven_are_waiting)
    held.set()

    async def nothing_is_left():
        return await consumer.progress() == ConsumerProgress(0, 0, 0)

    await until(nothing_is_left)
    await consumer.stop()


async def test_told_to_stop_it_is_not_ready_any_more_and_finishes_what_it_has_in_hand(server, client, tmp_path):
    async with running("key", server, tmp_path) as service:
        await service.answers("/readyz", READY)
        js = client.jetstream()
        request = json.dumps({"purpose": "certificate-signing", "algorithm": "rsa-4096"}).encode()
        await asyncio.gather(*(js.publish("keys.commands.key.generate", request) for _ in range(8)))

        async def they_are_in_hand():
            info = await js.consumer_info("KEYS_COMMANDS", "key")
            return info.num_ack_pending > 0 and info.num_pending == 0

        await until(they_are_in_hand)
        service.process.send_signal(signal.SIGTERM)
        await service.is_not_ready_because("it was told to stop")
        assert await asyncio.to_thread(service.process.wait, 20) == 0
    left = await js.stream_info("KEYS_COMMANDS")
    done = await js.stream_info("KEYS_EVENTS", subjects_filter="keys.events.key.generated.*")
    assert left.state.messages + len(done.state.subjects or {}) == 8


RUBBISH = {
    "no line of HTTP": b"hello\r\n\r\n",
    "nothing at all": b"\r\n\r\n",
    "a method that is not offered": b"POST /livez HTTP/1.1\r\n\r\n",
    "bytes that are no text": b"\xff\xfe / \x00\r\n\r\n",
}


async def test_strangers_with_rubbish_are_answered_and_do_not_hinder(server, tmp_path):
    async with running("key", server, tmp_path) as service:
        await service.answers("/readyz", READY)
        slow = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(50)]
        for _, writer in slow:
            writer.write(b"GET /liv")
        for request in RUBBISH.values():
            assert (await service.sent(request)).startswith(b"HTTP/1.1 400 ")
        assert await service.asked("/metrics") == (404, "there are /livez and /readyz")
        too_long = await service.sent(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n")
        assert too_long[:13] in (b"HTTP/1.1 400 ", b"")  # b"": the kernel drops the answer with what was not read
        assert await service.asked("/livez") == LIVE
        for reader, writer in slow:
            assert await reader.read() == b""  # given up
            writer.close()
        assert await service.asked("/readyz") == READY
        assert "Traceback" not in service.said


@pytest.mark.parametrize("port", ["", "0", "65536", "http", "-1"])
async def test_a_health_port_that_is_none_is_refused_with_what_is_wrong(port, server, tmp_path):
    async with running("key", server, tmp_path, HEALTH_PORT=port) as service:
        if not port:
            await until(lambda: "serving" in service.said, within=30)
            return
        assert await asyncio.to_thread(service.process.wait, 20) == 78
        assert f"HEALTH_PORT must be a port number, not '{port}'" in service.said


async def test_a_health_port_that_is_taken_is_named(server, tmp_path):
    async with running("key", server, tmp_path, HEALTH_PORT=str(server.port)) as service:
        assert await asyncio.to_thread(service.process.wait, 20) == 78
        assert f"cannot listen on 127.0.0.1 port {server.port}" in service.said
