"""The repository in a process of its own, with curl and openssl as relying parties."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates
from cryptography.x509 import ocsp

from services.certificate.views.documents import StoredEvent, certificate_views, issuer_views, publication_views
from shared.nats.streams import declare
from tests.support.pki import (
    TODAY,
    bundle_published,
    certify,
    crl_published,
    der,
    ocsp_published,
    ocsp_request,
    ocsp_response,
    pem,
    publish_events,
    root,
)
from tests.support.repository_process import RepositoryProcess, repository_up
from tests.support.settings import certificate_settings
from tests.support.waiting import until

ROOT, OTHER = root(), root("Other")
ALICE, BOB, NOBODY = (certify(name, ROOT) for name in ("alice", "bob", "nobody"))
CRL = crl_published(ROOT, 1)
BUNDLE, SECOND = bundle_published(ROOT), bundle_published(ROOT, OTHER)
UNKNOWN = "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f"


async def show(js, *views):
    for view in views:
        headers = {"CIM-Sequence": str(view.sequence)}
        await js.publish(f"$KV.KEYS_VIEWS.{view.key}", view.value, headers=headers)


@pytest.fixture(name="js")
async def _js(client):
    await declare(client)
    js = client.jetstream()
    await show(js, *certificate_views([StoredEvent(ALICE.signed, 1, TODAY)]), *issuer_views(ROOT.signed, 1))
    await show(js, *publication_views(CRL, 1), *publication_views(ocsp_published(ROOT, [ALICE]), 1))
    await show(js, *publication_views(BUNDLE, 1), *publication_views(SECOND, 1))
    return js


@pytest.fixture(name="repository")
async def _repository(js, server, tmp_path):  # noqa: ARG001 - what it serves
    async with repository_up(server.url, tmp_path) as repository:
        yield repository


CRL_PATH = f"/crl/{ROOT.certificate_id}.crl"


async def test_a_crl_in_der_and_how_long_it_may_be_kept(repository):
    seen = await repository.curl(CRL_PATH)

    crl = x509.load_der_x509_crl(seen.body)
    assert crl.is_signature_valid(ROOT.key.public_key())
    assert (seen.status, seen.headers["content-type"]) == (200, "application/pkix-crl")
    assert seen.headers["content-length"] == str(len(seen.body))
    assert seen.headers["cache-control"] == "public, no-transform, must-revalidate, max-age=600"
    assert {"etag", "expires", "last-modified", "date"} <= seen.headers.keys()
    assert "server" not in seen.headers


async def test_who_has_the_crl_is_told_so(repository):
    tag = (await repository.curl(CRL_PATH)).headers["etag"]

    again = await repository.curl(CRL_PATH, "-H", f"If-None-Match: {tag}")
    other = await repository.curl(CRL_PATH, "-H", 'If-None-Match: "other"')

    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert other.status == 200


async def test_head_tells_all_but_the_body(repository):
    got, seen = await repository.curl(CRL_PATH), await repository.curl(CRL_PATH, "--head")

    assert (seen.status, seen.body) == (200, b"")
    assert {**seen.headers, "date": ""} == {**got.headers, "date": ""}


async def test_a_new_crl_is_seen_at_once(repository, js):
    tag = (await repository.curl(CRL_PATH)).headers["etag"]
    await show(js, *publication_views(crl_published(ROOT, 2, [ALICE]), 2))

    seen = await repository.curl(CRL_PATH, "-H", f"If-None-Match: {tag}")

    crl = x509.load_der_x509_crl(seen.body)
    assert crl.get_revoked_certificate_by_serial_number(ALICE.certificate.serial_number) is not None


async def test_openssl_reads_the_crl_from_its_url(repository, tmp_path):
    listed = subprocess.run(  # noqa: ASYNC221 - the repository is a process of its own
        [
            "openssl",
            "crl",
            "-inform",
            "DER",
            "-in",
            await saved(repository, CRL_PATH, tmp_path),
            "-noout",
            "-crlnumber",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert listed.stdout.strip() == "crlNumber=0x01"


async def saved(repository, path, directory):
    file = directory / path.rsplit("/", 1)[1]
    file.write_bytes((await repository.curl(path)).body)
    return file


async def test_an_authority_in_der_and_in_pkcs7(repository):
    plain = await repository.curl(f"/ca/{ROOT.certificate_id}.cer")
    wrapped = await repository.curl(f"/ca/{ROOT.certificate_id}.p7c")

    assert (plain.headers["content-type"], plain.body) == ("application/pkix-cert", der(ROOT.certificate))
    assert "immutable" in plain.headers["cache-control"]
    assert wrapped.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert load_der_pkcs7_certificates(wrapped.body) == [ROOT.certificate]


async def test_bundles_one_by_one_and_all_their_roots_once(repository):
    one, other, all_ = [
        await repository.curl(path)
        for path in (f"/bundle/{BUNDLE.bundle_id}", f"/bundle/{SECOND.bundle_id}", "/bundle")
    ]

    assert one.body.decode() == pem(ROOT.certificate)
    assert other.body.decode() == all_.body.decode() == pem(ROOT.certificate) + pem(OTHER.certificate)
    assert all_.headers["content-type"] == "application/x-pem-file"


async def test_what_anyone_may_know_of_a_certificate(repository):
    seen = await repository.curl(f"/certificate/{ALICE.certificate_id}")

    assert seen.headers["content-type"] == "application/json"
    assert json.loads(seen.body)["status"] == "issued"


async def test_a_document_that_was_deleted_is_not_there(repository, js):
    await js.publish(f"$KV.KEYS_VIEWS.crl.{ROOT.certificate_id}", b"", headers={"KV-Operation": "DEL"})
    for bundle in (BUNDLE, SECOND):
        await js.publish(f"$KV.KEYS_VIEWS.bundle.{bundle.bundle_id}", b"", headers={"KV-Operation": "DEL"})

    assert (await repository.curl(CRL_PATH)).status == (await repository.curl("/bundle")).status == 404


NOT_THERE = [
    "/",
    "/crl",
    "/crl/",
    f"/crl/{UNKNOWN}.crl",
    f"/crl/{UNKNOWN.upper()}.crl",
    "/crl/*.crl",
    "/crl/%3E.crl",
    f"/crl/{ROOT.certificate_id}",
    f"/crl/../crl/{ROOT.certificate_id}.crl",
    f"/ca/{ALICE.certificate_id}.cer",
    f"/ca/{UNKNOWN}.p7c",
    f"/bundle/{UNKNOWN}",
    "/bundle/*",
    f"/certificate/{UNKNOWN}",
    f"/certificate/{ALICE.certificate_id}/",
    "/%00",
    "/etc/passwd",
]
NOT_DONE = [
    ("POST", CRL_PATH, "GET, HEAD"),
    ("DELETE", "/bundle", "GET, HEAD"),
    ("PUT", "/health/live", "GET, HEAD"),
    ("OPTIONS", CRL_PATH, "GET, HEAD"),
    ("GET", "/ocsp", "POST"),
    ("POST", "/ocsp/MFA=", "GET, HEAD"),
]
RUBBISH = [b"", b"rubbish", b"\x30\x03\x02\x01\x01", b"\x30\x80" * 2000, os.urandom(60_000)]
NO_HTTP = [b"\x00\xff" * 50, b"GET\r\n\r\n", b"GET /" + b"x" * 100_000, b"PRI * HTTP/2.0\r\n\r\n"]


async def test_what_is_not_there_is_said_in_one_line(repository):
    for path in NOT_THERE:
        seen = await repository.curl(path)
        assert (seen.status, seen.body) == (404, b"there is nothing of that name\n"), path


async def test_what_is_not_done_there_is_said_with_what_is(repository):
    for method, path, allowed in NOT_DONE:
        seen = await repository.curl(path, "-X", method)
        assert (seen.status, seen.headers["allow"]) == (405, allowed), (method, path)


# --- OCSP --------------------------------------------------------------------------


def files(directory, certified):
    issuer, subject = directory / "issuer.pem", directory / "subject.pem"
    issuer.write_text(pem(ROOT.certificate))
    subject.write_text(pem(certified.certificate))
    return issuer, subject


async def openssl_ocsp(repository, directory, certified, *options):
    issuer, subject = files(directory, certified)
    command = ["openssl", "ocsp", "-url", f"{repository.url}/ocsp", "-issuer", issuer, *options, "-cert", subject]
    return await asyncio.to_thread(
        subprocess.run, [*command, "-CAfile", issuer], capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize("options", [["-sha1"], ["-sha256"], ["-no_nonce"]])
async def test_openssl_asks_and_is_answered(repository, tmp_path, options):
    done = await openssl_ocsp(repository, tmp_path, ALICE, *options)

    assert done.returncode == 0, done.stderr
    assert "Response verify OK" in done.stderr
    assert ": good" in done.stdout


async def test_openssl_sees_a_revocation_at_once(repository, tmp_path, js):
    await show(js, *publication_views(ocsp_published(ROOT, [ALICE], ocsp.OCSPCertStatus.REVOKED), 2))

    done = await openssl_ocsp(repository, tmp_path, ALICE)

    assert "Response verify OK" in done.stderr
    assert ": revoked" in done.stdout
    assert "Reason: keyCompromise" in done.stdout


async def test_openssl_is_told_that_nothing_is_known_of_another(repository, tmp_path):
    done = await openssl_ocsp(repository, tmp_path, NOBODY)

    assert "unauthorized (6)" in done.stdout + done.stderr


async def posted(repository, directory, body, *options, media_type="application/ocsp-request", path="/ocsp"):
    file = directory / "request.der"
    file.write_bytes(body)
    return await repository.curl(
        path, "-X", "POST", "-H", f"Content-Type: {media_type}", "--data-binary", f"@{file}", *options
    )


def answered(seen):
    assert (seen.status, seen.headers["content-type"]) == (200, "application/ocsp-response")
    return ocsp.load_der_ocsp_response(seen.body)


async def test_get_and_post_are_answered_alike(repository, tmp_path):
    request = ocsp_request(ROOT, ALICE, nonce=b"n" * 32)
    text = base64.b64encode(request).decode()

    seen = [
        await posted(repository, tmp_path, request),
        await posted(repository, tmp_path, request, path="/ocsp/"),
        await repository.curl(f"/ocsp/{quote(text, safe='')}"),
        await repository.curl(f"/ocsp/{text}"),
        await repository.curl(f"/ocsp//{text}"),
    ]

    assert [answered(each).serial_number for each in seen] == [ALICE.certificate.serial_number] * 5
    assert len({each.body for each in seen}) == 1


async def test_an_answer_may_be_kept_as_rfc_5019_says(repository):
    path = f"/ocsp/{quote(base64.b64encode(ocsp_request(ROOT, ALICE)).decode(), safe='')}"
    seen = await repository.curl(path)

    answer = answered(seen)
    assert seen.headers["cache-control"] == "public, no-transform, must-revalidate, max-age=600"
    assert {"etag", "expires", "last-modified"} <= seen.headers.keys()
    assert answer.next_update_utc - answer.this_update_utc == timedelta(days=1)
    assert (await repository.curl(path, "-H", f"If-None-Match: {seen.headers['etag']}")).status == 304


async def test_an_answer_whose_time_is_over_is_not_to_be_kept(repository, js):
    over = ocsp_response(ROOT, BOB, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, until=TODAY + timedelta(seconds=0))  # noqa: S303 - as clients ask
    request = ocsp.load_der_ocsp_request(ocsp_request(ROOT, BOB))
    await js.publish(f"$KV.KEYS_VIEWS.ocsp.{request.issuer_key_hash.hex()}.{BOB.serial}", der(over))

    seen = await repository.curl(f"/ocsp/{quote(base64.b64encode(der(request)).decode(), safe='')}")

    assert seen.headers["cache-control"].endswith("max-age=0")


async def test_rubbish_is_told_so_and_the_next_is_answered(repository, tmp_path):
    for body in RUBBISH:
        wrong = answered(await posted(repository, tmp_path, body))
        assert wrong.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST

    right = answered(await posted(repository, tmp_path, ocsp_request(ROOT, ALICE)))
    assert right.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL


async def test_rubbish_in_a_path_is_told_so(repository):
    for path in ("/ocsp/%%%", "/ocsp/ü", "/ocsp/TQ", "/ocsp/" + "A" * 1000):
        wrong = answered(await repository.curl(quote(path, safe="/%")))
        assert wrong.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


async def test_what_is_unsigned_is_kept_by_nobody(repository, tmp_path):
    unknown = await posted(repository, tmp_path, ocsp_request(ROOT, NOBODY))

    assert answered(unknown).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED
    assert unknown.headers["cache-control"] == "no-store"


async def test_what_is_too_large_or_of_another_kind_is_refused(repository, tmp_path):
    large = b"x" * 70_000

    assert (await posted(repository, tmp_path, large)).status == 413
    assert (await posted(repository, tmp_path, large, "-H", "Transfer-Encoding: chunked")).status == 413
    assert (await posted(repository, tmp_path, b"x", media_type="text/plain")).status == 415
    assert (await repository.curl("/ocsp/" + "A" * 3000)).status == 414
    assert (await repository.curl(CRL_PATH)).status == 200


# --- what does not stop it ---------------------------------------------------------


@asynccontextmanager
async def connections(repository, count=1):
    opened = [await asyncio.open_connection("127.0.0.1", repository.port) for _ in range(count)]
    yield opened
    for _, writer in opened:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_slow_clients_hold_nobody_up_and_are_given_up(repository):
    async with connections(repository, 100) as slow:
        for number, (_, writer) in enumerate(slow):
            writer.write(b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n" + b"\r\nM" * (number % 2))

        assert (await repository.curl(CRL_PATH)).status == 200
        async with asyncio.timeout(40):
            ends = await asyncio.gather(*(reader.read() for reader, _ in slow))

    assert {end.partition(b"\r\n")[0] for end in ends} == {b"", b"HTTP/1.1 408 Request Timeout"}


async def test_what_is_no_http_is_refused_and_the_next_is_answered(repository):
    for rubbish in NO_HTTP:
        async with connections(repository) as ((reader, writer),):
            writer.write(rubbish)
            with contextlib.suppress(ConnectionError):
                assert b" 4" in await asyncio.wait_for(reader.readline(), 30)

        assert (await repository.curl(CRL_PATH)).status == 200
    assert len(repository.log_text.splitlines()) == 1  # that it serves: rubbish is not worth a line


async def test_without_a_server_it_says_so_and_with_it_it_goes_on(repository, server, tmp_path):
    server.kill()

    async def is_away():
        return (await repository.curl("/health/ready")).status == 503

    await until(is_away)
    assert (await repository.curl("/health/live")).status == 200
    assert (await repository.curl(CRL_PATH)).status == 503
    trouble = answered(await posted(repository, tmp_path, ocsp_request(ROOT, ALICE)))
    assert trouble.response_status is ocsp.OCSPResponseStatus.TRY_LATER
    await server.start()
    await repository.ready()
    assert (await repository.curl(CRL_PATH)).status == 200


async def test_under_load_a_restart_of_the_server_leads_to_no_wrong_answer(repository, server):
    seen = []
    stop = asyncio.Event()

    async def ask():
        while not stop.is_set():
            seen.append(await repository.curl(CRL_PATH))

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    for _ in range(2):
        await asyncio.sleep(0.5)
        server.kill()
        await server.start()
        await repository.ready()
    before = len(seen)
    await until(lambda: sum(each.status == 200 for each in seen[before:]) > 20)
    stop.set()
    await asyncio.gather(*asking)

    bodies = {each.body for each in seen if each.status == 200}
    assert {each.status for each in seen} <= {200, 503}
    assert bodies == {der(x509.load_pem_x509_crl(CRL.crl_pem.encode()))}


async def test_killed_and_started_again_it_serves_the_same(repository):
    before = await repository.curl(CRL_PATH)

    repository.kill()
    await repository.start()

    after = await repository.curl(CRL_PATH)
    assert (after.body, after.headers["etag"]) == (before.body, before.headers["etag"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_end_it_ends_well(repository, number):
    async with connections(repository):  # idle, or slow: neither holds it up
        repository.process.send_signal(number)

        assert await asyncio.to_thread(repository.process.wait, 20) == 0
    assert "Traceback" not in repository.log_text


async def test_it_may_start_before_the_server_and_waits(server, js, tmp_path):  # noqa: ARG001 - js: what it serves
    server.kill()
    repository = RepositoryProcess(server.url, tmp_path / "log")
    starting = asyncio.create_task(repository.start())
    try:
        await until(lambda: repository.process is not None)
        await server.start()
        await starting
        assert (await repository.curl(CRL_PATH)).status == 200
    finally:
        repository.stop()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"HTTP_PORT": "http"}, "HTTP_PORT must be a port number, not 'http'"), ({}, "HTTP_HOST and HTTP_PORT say where")],
)
async def test_what_it_cannot_use_is_said_in_one_line(server, settings, words):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {**os.environ, "NATS_URL": server.url, "HTTP_PORT": str(taken.getsockname()[1]), **settings}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.repository"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    assert done.returncode == 78
    assert words in done.stderr
    assert "Traceback" not in done.stderr


async def test_what_is_told_to_the_log_is_served(server, client, tmp_path):
    """The whole way: an event, the projector, the bucket, HTTP."""
    from services.certificate.service import certificate_service  # noqa: PLC0415 - only this test has both

    app = certificate_service(certificate_settings(server.url))
    await app.start()
    try:
        async with repository_up(server.url, tmp_path) as repository:
            await publish_events(client.jetstream(), ROOT.signed, ALICE.signed, CRL, ALICE.revoked())

            async def is_revoked():
                seen = await repository.curl(f"/certificate/{ALICE.certificate_id}")
                return seen.status == 200 and json.loads(seen.body)["status"] == "revoked"

            await until(is_revoked)
            assert (await repository.curl(CRL_PATH)).status == 200
    finally:
        await app.stop()
