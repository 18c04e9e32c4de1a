"""Secrets on Kubernetes: generated once, one set a process; mutual TLS between servers."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.kubernetes.routes import SERVERS
from deploy.kubernetes.secrets import create_missing, secret_manifests
from tests.support.kubernetes_secrets import made_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="secrets")
def _secrets(tmp_path):
    return made_in(tmp_path)


def test_no_two_processes_have_a_secret_in_common_but_the_authority_s_certificate(secrets):
    files = [(file, path) for told in secrets.values() for file, path in told.items() if file != "ca.pem"]

    assert len({path for _, path in files}) == len(files)
    assert {name for name, told in secrets.items() if "key.passphrase" in told} == {"cim-keys-key"}
    assert {name for name, told in secrets.items() if "yubikey.secret" in told} == {"cim-keys-yubikey"}


def test_the_secrets_are_drawn_once(secrets, tmp_path):
    before = {made["metadata"]["name"]: made["data"] for made in secret_manifests(secrets)}
    create_missing(tmp_path / "kept")
    after = {made["metadata"]["name"]: made["data"] for made in secret_manifests(secrets)}

    assert {name for name in before if before[name] != after[name]} == {"nats-routes"}
    assert before["nats-routes"]["routes-ca.pem"] == after["nats-routes"]["routes-ca.pem"]
    assert all(
        (tmp_path / "kept" / name).stat().st_mode & 0o777 == 0o600 for name in ("key.passphrase", "routes-ca.key")
    )


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("server", SERVERS)
def test_each_server_of_the_cluster_is_known_by_its_name_as_server_and_as_client(server, purpose, secrets):
    routes = secrets["nats-routes"]
    authority = ["-CAfile", routes["routes-ca.pem"], "-purpose", purpose, "-x509_strict"]

    def verified(name):
        command = ["openssl", "verify", *authority, "-verify_hostname", name, routes["routes.pem"]]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert verified(server)
    assert not verified("nats")


def told(*directories):
    command = [sys.executable, "-m", "deploy.kubernetes.secrets", *map(str, directories)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_writes_what_kubectl_takes(secrets, tmp_path):
    done = told(tmp_path / "users", tmp_path / "tls", tmp_path / "kept")

    written = {each["metadata"]["name"]: each for each in yaml.safe_load_all(done.stdout)}
    assert set(written) == set(secrets)
    assert {(each["kind"], each["metadata"]["namespace"]) for each in written.values()} == {("Secret", "cim-keys")}
    passphrase = (tmp_path / "kept" / "key.passphrase").read_bytes()
    assert base64.b64decode(written["cim-keys-key"]["data"]["key.passphrase"]) == passphrase


def test_the_command_says_what_is_missing_and_writes_nothing(tmp_path):
    done = told(tmp_path / "users", tmp_path / "tls", tmp_path / "kept")

    assert done.returncode == 1
    assert done.stdout == ""
    assert "key.nk is missing" in done.stderr
