"""Relying parties over HTTP and TLS: chains, CRLs, OCSP responses, handshakes, before and after a revocation.

Judges: openssl and curl; where one is missing, this module is left out, by its name.
"""

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.nats import free_port
from tests.support.suite import suite_up

MISSING = [tool for tool in ("openssl", "curl") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"this machine has no {' and no '.join(MISSING)} to be the judge"),
    pytest.mark.asyncio(loop_scope="module"),
]
POLICY = """
issuers:
  - match: {{any: true}}
    base_url: http://127.0.0.1:{port}
    ocsp: true
"""


@dataclass
class Party:
    """A holder of a certificate, with files that openssl reads."""

    certificate_id: str
    directory: Path

    @property
    def certificate(self):
        return self.directory / "certificate.pem"

    @property
    def key(self):
        return self.directory / "key.pem"

    def chain(self, issuer):
        """Its certificate and its issuer's, as curl sends them."""
        (self.directory / "chain.pem").write_bytes(self.certificate.read_bytes() + issuer.read_bytes())
        return self.directory / "chain.pem"


@dataclass
class Judge:
    """The suite's PKI as somebody sees it who has the root, curl and openssl."""

    suite: object
    directory: Path
    url: str

    @property
    def root(self):
        return self.directory / "root.pem"

    @property
    def issuer(self):
        return self.directory / "intermediate.pem"

    async def run(self, *command, stdin=b"", ok=True):
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await asyncio.wait_for(process.communicate(stdin), 30))[0]
        if ok:
            assert process.returncode == 0, said.decode(errors="replace")
        return said

    async def get(self, path, *options):
        return await self.run("curl", "-sS", "--fail", *options, f"{self.url}{path}")

    async def party(self, profile, common_name, **fields):
        """A key made here, a CSR, and the certificate that the suite answers with."""
        key, directory = ec.generate_private_key(ec.SECP256R1()), self.directory / str(uuid4())
        directory.mkdir()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        body = {"profile": profile, "subject": {"common_name": common_name}, "validity_days": 90, **fields}
        body |= {"issuer_id": self.suite.issuer_id, "csr_pem": csr.public_bytes(Encoding.PEM).decode()}
        end = await self.suite.end_of(await self.suite.start_saga("certificate-issuance", **body))
        assert end.tokens[4] == "completed", end.body
        party = Party(end.body["certificate_id"], directory)
        party.certificate.write_text(end.body["certificate_pem"])
        party.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return party

    async def crls(self):
        """Both CRLs in one PEM file, as a relying party fetches them."""
        pem = b""
        for certificate_id in (self.suite.issuer_id, self.suite.bootstrapped.body["root_certificate_id"]):
            der = await self.get(f"/crl/{certificate_id}.crl")
            pem += x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
        (self.directory / "crls.pem").write_bytes(pem)
        return self.directory / "crls.pem"

    async def trust(self):
        """The root and the CRLs of the moment in one file: of a file of CRLs alone, openssl takes the first only."""
        (self.directory / "trust.pem").write_bytes(self.root.read_bytes() + (await self.crls()).read_bytes())
        return self.directory / "trust.pem"

    async def verify(self, party, *options, ok=True):
        crls = await self.crls()
        trust = ("-CAfile", self.root, "-untrusted", self.issuer, "-CRLfile", crls, "-crl_check_all")
        return await self.run("openssl", "verify", "-x509_strict", *trust, *options, party.certificate, ok=ok)

    async def ocsp(self, party):
        asked = ("-issuer", self.issuer, "-cert", party.certificate, "-url", f"{self.url}/ocsp")
        trust = ("-CAfile", self.root, "-verify_other", self.issuer, "-no_nonce")
        return await self.run("openssl", "ocsp", *asked, *trust, ok=False)

    async def until(self, look, word):
        """Polls *look* until its output contains *word*: a revocation takes effect when it is published."""
        said = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                while word not in said:
                    await asyncio.sleep(0.1)
                    said = await look()
        assert word in said, said.decode(errors="replace")
        return said


@pytest_asyncio.fixture(name="judge", scope="module", loop_scope="module")
async def _judge(tmp_path_factory):
    state, port = tmp_path_factory.mktemp("relying") / "state", free_port()
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY.format(port=port))
    async with suite_up(state, [], http_port=port, choices={"CERTIFICATE_POLICY_FILE": str(policy)}) as suite:
        await suite.bootstrap()
        judge = Judge(suite, tmp_path_factory.mktemp("judge"), f"http://127.0.0.1:{port}")
        judge.root.write_text(suite.chain[0])
        judge.issuer.write_text(suite.chain[1])
        responder = {"profile": "ocsp-responder", "subject": {"common_name": "Acme OCSP"}, "algorithm": "ec-p256"}
        responder |= {"issuer_id": suite.issuer_id, "validity_days": 30}
        end = await suite.end_of(await suite.start_saga("certificate-issuance", **responder))
        assert end.tokens[4] == "completed", end.body
        yield judge


async def test_the_trust_bundle_holds_the_root_and_the_issuer_is_where_certificates_say(judge):
    party = await judge.party("tls-client", "Alice")
    certificate = x509.load_pem_x509_certificate(party.certificate.read_bytes())
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    where = {each.access_method: each.access_location.value for each in access}

    fetched = await judge.run("curl", "-sS", "--fail", where[x509.OID_CA_ISSUERS])
    bundle = await judge.get("/bundle")

    assert x509.load_der_x509_certificate(fetched) == x509.load_pem_x509_certificate(judge.issuer.read_bytes())
    assert x509.load_pem_x509_certificates(bundle) == [x509.load_pem_x509_certificate(judge.root.read_bytes())]


async def test_openssl_reads_and_verifies_the_crls(judge):
    der = await judge.get(f"/crl/{judge.suite.issuer_id}.crl")
    (judge.directory / "issuer.crl").write_bytes(der)
    file = judge.directory / "issuer.crl"

    said = await judge.run("openssl", "crl", "-inform", "DER", "-in", file, "-CAfile", judge.issuer, "-noout", "-text")

    assert b"verify OK" in said
    assert b"X509v3 CRL Number" in said


async def test_a_revoked_certificate_is_on_the_crl_and_ocsp_says_so(judge):
    party = await judge.party("tls-client", "Bob")
    await judge.verify(party)
    await judge.until(lambda: judge.ocsp(party), b": good")

    await judge.suite.ask("certificate.revoke", {"certificate_id": party.certificate_id, "reason": "keyCompromise"})

    await judge.until(lambda: judge.ocsp(party), b": revoked")
    await judge.until(lambda: judge.verify(party, ok=False), b"certificate revoked")
    said = await judge.ocsp(party)
    assert b"Response verify OK" in said
    assert b"keyCompromise" in said


async def test_what_is_held_comes_back_when_it_is_released(judge):
    party = await judge.party("tls-client", "Carol")

    await judge.suite.ask("certificate.hold", {"certificate_id": party.certificate_id})
    await judge.until(lambda: judge.verify(party, ok=False), b"certificate revoked")
    await judge.until(lambda: judge.ocsp(party), b"certificateHold")

    await judge.suite.ask("certificate.release", {"certificate_id": party.certificate_id})
    await judge.until(lambda: judge.verify(party, ok=False), b": OK")
    await judge.until(lambda: judge.ocsp(party), b": good")


async def test_a_tls_handshake_between_two_holders_before_and_after_a_revocation(judge):
    server = await judge.party("tls-server", "localhost", sans=[{"kind": "dns", "value": "localhost"}])
    client = await judge.party("tls-client", "Dave")

    async with _serving(judge, server) as port:
        said = await _handshake(judge, client, port)
        assert b"Verify return code: 0 (ok)" in said, said.decode(errors="replace")
        answer = await judge.run(
            *("curl", "-sS", "--cacert", judge.root, "--crlfile", await judge.crls()),
            *("--cert", client.chain(judge.issuer), "--key", client.key, f"https://localhost:{port}/"),
        )
        assert b"s_server" in answer

        await judge.suite.ask("certificate.revoke", {"certificate_id": server.certificate_id, "reason": "superseded"})
        await judge.until(lambda: judge.verify(server, ok=False), b"certificate revoked")

        said = await _handshake(judge, client, port)
        assert b"certificate revoked" in said, said.decode(errors="replace")


async def test_a_server_turns_away_a_client_whose_certificate_was_revoked(judge):
    server = await judge.party("tls-server", "localhost", sans=[{"kind": "dns", "value": "localhost"}])
    client = await judge.party("tls-client", "Eve")
    await judge.suite.ask("certificate.revoke", {"certificate_id": client.certificate_id, "reason": "keyCompromise"})
    await judge.until(lambda: judge.verify(client, ok=False), b"certificate revoked")

    async with _serving(judge, server) as port:
        said = await _handshake(judge, client, port)

    assert b"alert certificate revoked" in said, said.decode(errors="replace")


async def test_caches_are_told_how_long_they_may_keep_a_crl(judge):
    path = f"/crl/{judge.suite.issuer_id}.crl"
    head = (await judge.get(path, "-I")).decode().lower()
    etag = next(line.split(": ", 1)[1].strip() for line in head.splitlines() if line.startswith("etag"))

    unchanged = ("-o", "/dev/null", "-w", "%{http_code}", "-H", f"If-None-Match: {etag}")
    again = await judge.run("curl", "-sS", *unchanged, judge.url + path)

    assert "content-type: application/pkix-crl" in head
    assert "cache-control: " in head
    assert "max-age=" in head
    assert again == b"304"


@contextlib.asynccontextmanager
async def _serving(judge, server):
    """openssl's TLS server with the party's certificate; it wants one of its clients too, and looks at the CRLs."""
    port, trust = free_port(), await judge.trust()
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-quiet", "-Verify", "3"),
        *("-verify_return_error", "-crl_check_all", "-CAfile", trust),
        *("-cert", server.certificate, "-key", server.key, "-cert_chain", judge.issuer),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _handshake(judge, client, port):
    return await judge.run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"),
        *("-verify_hostname", "localhost", "-CAfile", await judge.trust(), "-crl_check_all"),
        *("-cert", client.certificate, "-key", client.key, "-cert_chain", judge.issuer, "-ign_eof"),
        stdin=b"GET / HTTP/1.0\r\n\r\n",
        ok=False,
    )
