"""Certificates pass `openssl verify -x509_strict`.

A machine may have python3 and make only: where there is no openssl, this module is left out, by its name.
"""

import asyncio
import shutil

import pytest

from services.certificate.policy.issuers import IssuerPolicy
from services.certificate.policy.rules import Policy
from services.certificate.profiles import KEY_TYPES, PROFILES, RSA_BITS, check_key
from shared.contracts.certificate.value_types import Profile, SanKind, SubjectAlternativeName
from shared.contracts.key.value_types import Algorithm
from shared.messages.ids import new_id
from tests.support.in_memory_ca import Authority, private_key, request
from tests.support.scenario import NOON

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl to be the judge")
AUTHORITIES = [
    Algorithm.RSA_2048,
    Algorithm.RSA_3072,
    Algorithm.EC_P256,
    Algorithm.EC_P384,
    Algorithm.ED25519,
]
LEAVES = [
    (profile, algorithm)
    for profile, rules in PROFILES.items()
    if not rules.is_ca
    for algorithm in Algorithm
    if algorithm is not Algorithm.ML_DSA_65  # OpenSSL 3.0 does not know it; 3.5 does
    if check_key(profile, KEY_TYPES[algorithm], RSA_BITS.get(algorithm)) is None
]


NAMES = (
    SubjectAlternativeName(kind=SanKind.URI, value=f"urn:uuid:{new_id()}"),
    SubjectAlternativeName(kind=SanKind.EMAIL, value="alice@example.org"),
)
PEOPLE = {profile: {"sans": NAMES} for profile in Profile if profile.startswith("piv-")}
PUBLISHED = Policy(issuers=((None, IssuerPolicy(base_url="http://pki.example.org", ocsp=True)),))


async def openssl_verify(directory, root, *chain, purpose=()):
    """The exit status and what was said; *chain* is the untrusted ones, then what is to be verified."""
    files = []
    for signed in (root, *chain):
        files.append(directory / f"{signed.certificate_id}.pem")
        files[-1].write_text(signed.certificate_pem)
    untrusted = [argument for file in files[1:-1] for argument in ("-untrusted", str(file))]
    at = str(int(NOON.timestamp()))
    process = await asyncio.create_subprocess_exec(
        *("openssl", "verify", "-x509_strict", "-check_ss_sig", "-attime", at, "-CAfile", str(files[0])),
        *purpose,
        *untrusted,
        str(files[-1]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize("algorithm", AUTHORITIES)
async def test_openssl_takes_a_chain_of_every_kind_of_authority(tmp_path, algorithm):
    root_key, key = private_key(algorithm), private_key(algorithm, 1)
    authority = Authority()
    root = await authority.root(root_key)
    issuer = await authority.intermediate(key, root, root_key)
    holder = private_key(Algorithm.EC_P256, 2)
    leaf = await authority.issue(request(Profile.PIV_AUTHENTICATION, holder, issuer_id=issuer.certificate_id), key)

    for chain in ((root,), (root, issuer), (root, issuer, leaf)):
        status, said = await openssl_verify(tmp_path, *chain)
        assert status == 0, said


@pytest.mark.parametrize(("profile", "algorithm"), LEAVES)
async def test_openssl_takes_a_leaf_of_every_profile_with_every_kind_of_key(tmp_path, profile, algorithm):
    root_key, key = private_key(Algorithm.EC_P384), private_key(Algorithm.EC_P256)
    authority = Authority(PUBLISHED)
    root = await authority.root(root_key)
    issuer = await authority.intermediate(key, root, root_key)
    wish = request(profile, private_key(algorithm, 1), issuer_id=issuer.certificate_id, **PEOPLE.get(profile, {}))

    leaf = await authority.issue(wish, key)

    purpose = {
        Profile.TLS_SERVER: ("-purpose", "sslserver", "-verify_hostname", "www.example.org"),
        Profile.TLS_CLIENT: ("-purpose", "sslclient"),
        Profile.PIV_AUTHENTICATION: ("-purpose", "sslclient"),
        Profile.PIV_DIGITAL_SIGNATURE: ("-purpose", "smimesign"),
        Profile.PIV_KEY_MANAGEMENT: ("-purpose", "smimeencrypt") if algorithm.startswith("rsa") else (),
        Profile.EMAIL: ("-purpose", "smimesign") if algorithm is not Algorithm.X25519 else (),
        Profile.OCSP_RESPONDER: ("-purpose", "ocsphelper"),
    }.get(profile, ())
    status, said = await openssl_verify(tmp_path, root, issuer, leaf, purpose=purpose)
    assert status == 0, said


async def test_openssl_refuses_a_chain_to_another_root(tmp_path):
    key = private_key(Algorithm.EC_P256)
    authority = Authority()
    root, other = await authority.root(key), await authority.root(private_key(Algorithm.EC_P256, 1))
    leaf = await authority.issue(
        request(Profile.PIV_AUTHENTICATION, private_key(Algorithm.EC_P256, 2), issuer_id=root.certificate_id), key
    )

    status, said = await openssl_verify(tmp_path, other, leaf)

    assert (status, "error" in said) == (2, True)
