"""A slot that a saga provisioned, used by OpenSC's PKCS#11 module: for a TLS client, and for a login by SSH."""

import asyncio
import re
import shutil

import pytest

from services.yubikey.state.sealing import derive_key
from tests.support.suite import suite_up
from tests.support.virtual_readers import OPENSC, SERIAL, beside_a_yubikey

PIN = "123456"
SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin")


@pytest.fixture(name="kept", scope="module")
def _kept(tmp_path_factory):
    """State directory of a stopped suite whose device has a key and a certificate in slot 9a."""
    directory = tmp_path_factory.mktemp("provisioned")

    async def provision():
        async with suite_up(directory / "suite", [SERIAL]) as suite:
            await suite.bootstrap()
            end = await suite.end_of(await suite.provision())
            assert end.tokens[4] == "completed", end.body
            (directory / "chain.pem").write_text("".join(suite.chain))
            (directory / "alice.pem").write_text(end.body["certificate_pem"])

    asyncio.run(provision())
    secret = (directory / "suite" / "secrets" / "yubikey.secret").read_bytes()
    (directory / "sealing.key").write_bytes(derive_key(secret, b"cim-keys/yubikey/virtual-devices/v1"))
    return directory


def beside_it(kept, tmp_path, script):
    device = kept / "suite" / "yubikey" / "virtual", kept / "sealing.key"
    return beside_a_yubikey(tmp_path, script, kept=device)


def test_a_tls_client(kept, tmp_path):
    said = beside_it(
        kept,
        tmp_path,
        f"""
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.pem \\
          -subj /CN=localhost -days 2 2> /dev/null
        openssl s_server -accept 127.0.0.1:4433 -cert server.pem -key server.key -www -naccept 1 \\
          -CAfile {kept}/chain.pem -Verify 2 -verify_return_error > server.log 2>&1 &
        server=$!
        until grep -q ACCEPT server.log; do sleep 0.02; done
        export PKCS11_MODULE_PATH={OPENSC}
        (printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 1) | openssl s_client -connect 127.0.0.1:4433 -CAfile server.pem \\
          -engine pkcs11 -keyform engine -key "pkcs11:id=%01;type=private;pin-value={PIN}" -cert {kept}/alice.pem
        wait $server
        cat server.log
        """,
    )

    assert "HTTP/1.0 200 ok" in said
    assert re.search(r"Client certificate\n[\s\S]*Subject:.*Alice", said)


@pytest.mark.skipif(SSHD is None, reason="this machine has no OpenSSH server to log in to")
def test_a_login_by_ssh(kept, tmp_path):
    said = beside_it(
        kept,
        tmp_path,
        f"""
        ssh-keygen -q -t ed25519 -N '' -f host
        ssh-keygen -D {OPENSC} | grep 'PIV AUTH' > authorized
        printf 'Port 2222\\nListenAddress 127.0.0.1\\nHostKey %s/host\\n' $PWD > conf
        printf 'AuthorizedKeysFile %s/authorized\\n' $PWD >> conf
        printf 'PasswordAuthentication no\\nUsePAM no\\nPidFile none\\nStrictModes no\\n' >> conf
        mkdir -p /run/sshd
        {SSHD} -D -E sshd.log -f $PWD/conf &
        server=$!
        until (exec 3<> /dev/tcp/127.0.0.1/2222) 2> /dev/null; do sleep 0.05; done
        printf '#!/bin/sh\\necho {PIN}\\n' > pin
        chmod +x pin
        export SSH_ASKPASS=$PWD/pin SSH_ASKPASS_REQUIRE=force
        ssh -F none -p 2222 -I {OPENSC} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \\
          -o PasswordAuthentication=no $(id -un)@127.0.0.1 echo logged in < /dev/null
        kill $server
        """,
    )

    assert "logged in" in said
