"""Custody on a real server: every replica records permanently that a key has become a CA's by signing."""

import asyncio
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from pydantic_core import from_json

from services.key.custody.custodian import Custodian
from services.key.custody.tbs import ALGORITHM_IDENTIFIERS
from services.key.effects import (
    BindCertificate,
    CaCertificateInvalid,
    CaCertificateRegistered,
    CreateKeyPair,
    PrivateKeyUnavailable,
    Sign,
    Signed,
    SigningDenied,
)
from services.key.secrets.kek import KeyFile, unlock
from services.key.secrets.keystore import Keystore
from shared.contracts.key.value_types import Algorithm, Purpose, SignatureAlgorithm
from shared.der import bit_string, sequence
from shared.messages.ids import new_id
from shared.nats.kv import KeyValue
from shared.nats.streams import declare
from tests.support.signing_inputs import NOW, YEAR, authority_below, below, crl, extension, key, response_data, root

ECDSA = SignatureAlgorithm.ECDSA_SHA256
PEM = Encoding.PEM


@pytest.fixture(name="bucket")
async def _bucket(client):
    await declare(client)
    return KeyValue(client.jetstream(), "KEYS_SECRETS")


async def process(bucket):
    return Keystore(bucket, await unlock(bucket, KeyFile(bytes(range(32)))))


@pytest.fixture(name="keystore")
async def _keystore(bucket):
    return await process(bucket)


class StoredKey:
    """A key in custody: its id, its public half."""

    def __init__(self, made):
        self.key_id = made.request.key_id
        self.purpose = made.request.purpose
        self.public = load_pem_public_key(made.public_key_pem.encode())
        self.place = f"authority.{made.fingerprint_sha256}"

    def asked(self, message):
        return Sign(key_id=self.key_id, message=message, signature_algorithm=ECDSA, purpose=self.purpose)


async def held(keystore, purpose=Purpose.CERTIFICATE_SIGNING):
    command = CreateKeyPair(
        key_id=str(new_id()), algorithm=Algorithm.EC_P256, purpose=purpose, exportable=False, owner=None, label=None
    )
    return StoredKey(await keystore.perform(command))


async def signs(keystore, who, message):
    """The certificate that comes of it, if it is one."""
    answer = await keystore.perform(who.asked(message))
    assert isinstance(answer, Signed), answer
    return sequence(message, ALGORITHM_IDENTIFIERS[ECDSA], bit_string(answer.signature))


async def refuses(keystore, who, message, because):
    answer = await keystore.perform(who.asked(message))
    assert isinstance(answer, SigningDenied), answer
    assert because in answer.reason


async def hierarchy(keystore):
    """A root and one authority below it, both signed: their keys and certificates."""
    top, middle = await held(keystore), await held(keystore)
    of_root = root(top.public)
    issuing = authority_below(of_root, middle.public)
    await signs(keystore, top, of_root.tbs())
    await signs(keystore, top, issuing.tbs())
    return top, middle, of_root, issuing


# -- learning ----------------------------------------------------------------------------------------------------------
async def test_from_a_root_to_a_leaf_by_hand_and_openssl_agrees(keystore, tmp_path):
    top, middle = await held(keystore), await held(keystore)
    of_root = root(top.public)
    issuing = authority_below(of_root, middle.public)
    leaf = below(issuing, key("leaf").public_key())

    chain = [
        await signs(keystore, top, of_root.tbs()),
        await signs(keystore, top, issuing.tbs()),
        await signs(keystore, middle, leaf.tbs()),
    ]

    for name, der in zip(("root", "issuing", "leaf"), chain, strict=True):
        (tmp_path / name).write_bytes(x509.load_der_x509_certificate(der).public_bytes(PEM))
    verify = ["openssl", "verify", "-x509_strict", "-attime", str(int((NOW + timedelta(days=1)).timestamp()))]
    done = await asyncio.to_thread(
        subprocess.run,
        [*verify, "-CAfile", "root", "-untrusted", "issuing", "leaf"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"leaf: OK\n", done.stderr


async def test_what_is_an_authority_stands_in_the_bucket_before_its_signature_is_told(bucket, keystore):
    top, middle = await held(keystore), await held(keystore)
    of_root = root(top.public)
    issuing = authority_below(of_root, middle.public)
    custodian = Custodian(bucket)

    await custodian.examine(top.key_id, top.purpose, top.public, ECDSA, of_root.tbs())
    await custodian.examine(top.key_id, top.purpose, top.public, ECDSA, issuing.tbs())

    (noted,) = from_json((await bucket.get(middle.place)).value)["authorities"]
    assert (noted["path_length"], noted["source"], noted["self_issued"]) == (0, "signed", False)
    (own,) = from_json((await bucket.get(top.place)).value)["authorities"]
    assert (own["path_length"], own["source"], own["self_issued"]) == (None, "self", True)


async def test_after_a_restart_an_authority_is_still_one(bucket, keystore):
    _, middle, _, issuing = await hierarchy(keystore)

    await signs(await process(bucket), middle, below(issuing, key("leaf").public_key()).tbs())


async def test_what_one_replica_signs_another_knows(bucket, keystore):
    sibling = await process(bucket)
    top, middle = await held(keystore), await held(keystore)
    of_root = root(top.public)
    issuing = authority_below(of_root, middle.public)
    leaf = below(issuing, key("leaf").public_key())
    await refuses(sibling, top, issuing.tbs(), "no CA certificate")

    await signs(keystore, top, of_root.tbs())
    await signs(sibling, top, issuing.tbs())
    await signs(keystore, middle, leaf.tbs())
    renewed = issuing.but(ends=NOW + 9 * YEAR)
    await refuses(sibling, middle, leaf.but(ends=NOW + 8 * YEAR).tbs(), "validity")
    await signs(keystore, top, renewed.tbs())

    await signs(sibling, middle, leaf.but(ends=NOW + 8 * YEAR).tbs())
    await signs(sibling, middle, crl(issuing))


async def test_replicas_that_note_at_once_lose_nothing(bucket, keystore):
    stores = [keystore, *[await process(bucket) for _ in range(3)]]
    roots = [await held(keystore) for _ in range(4)]
    middle = await held(keystore)
    of_roots = [root(top.public, f"Root {number}") for number, top in enumerate(roots)]
    for top, of_root in zip(roots, of_roots, strict=True):
        await signs(keystore, top, of_root.tbs())
    wishes = [authority_below(of_root, middle.public, f"Below {of_root.subject}"[:60]) for of_root in of_roots]

    await asyncio.gather(
        *(signs(store, top, command.tbs()) for store, top, command in zip(stores, roots, wishes, strict=True))
    )

    assert len(from_json((await bucket.get(middle.place)).value)["authorities"]) == 4


async def test_signing_the_same_again_notes_nothing_new(bucket, keystore):
    top, middle, of_root, issuing = await hierarchy(keystore)
    before = [(await bucket.get(who.place)).revision for who in (top, middle)]

    await signs(keystore, top, of_root.tbs())
    await signs(keystore, top, issuing.tbs())
    await signs(keystore, top, issuing.but(ends=issuing.ends - YEAR, serial=2).tbs())

    assert [(await bucket.get(who.place)).revision for who in (top, middle)] == before


async def test_a_renewal_that_covers_the_old_certificate_takes_its_place(bucket, keystore):
    top, middle, _, issuing = await hierarchy(keystore)

    await signs(keystore, top, issuing.but(ends=issuing.ends + YEAR).tbs())

    assert len(from_json((await bucket.get(middle.place)).value)["authorities"]) == 1


async def test_of_too_many_notes_those_that_end_first_go(bucket, keystore):
    top, middle, _, issuing = await hierarchy(keystore)

    for days in range(1, 70):
        moved = {"begins": issuing.begins + timedelta(days=days), "ends": issuing.ends + timedelta(days=days)}
        await signs(keystore, top, issuing.but(**moved).tbs())

    assert len(from_json((await bucket.get(middle.place)).value)["authorities"]) == 64


async def test_notes_that_would_not_fit_into_a_message_are_refused(keystore):
    top = await held(keystore)
    await signs(keystore, top, root(top.public).tbs())
    middle = await held(keystore)

    def constrained(which):
        hosts = [x509.DNSName(f"{which}{number}.{'a' * 40}.example") for number in range(5000)]
        subtree = extension(x509.NameConstraints(hosts, None), critical=True)
        return authority_below(root(top.public), middle.public, extensions=(subtree,)).tbs()

    await signs(keystore, top, constrained("a"))
    await refuses(keystore, top, constrained("b"), "more CA certificates than can be stored")


# -- refusing ----------------------------------------------------------------------------------------------------------
async def test_a_key_without_a_certificate_signs_only_a_root_about_itself(keystore):
    who, another = await held(keystore), key("another").public_key()
    pretended = root(another)

    await refuses(keystore, who, pretended.tbs(), "no CA certificate")
    await refuses(keystore, who, below(pretended, key("leaf").public_key()).tbs(), "no CA certificate")
    await refuses(keystore, who, crl(pretended), "no CA certificate")
    await refuses(keystore, who, below(pretended, who.public).tbs(), "which only a self-issued root may have")
    await signs(keystore, who, root(who.public).tbs())


async def test_who_is_an_authority_by_another_does_not_make_itself_a_root_on_any_replica(bucket, keystore):
    sibling = await process(bucket)
    _, middle, _, _ = await hierarchy(keystore)

    await refuses(sibling, middle, root(middle.public, "Issuing").tbs(), "a CA certificate already")


async def test_an_authority_that_may_have_none_below_it_signs_none(keystore):
    _, middle, _, issuing = await hierarchy(keystore)

    await refuses(keystore, middle, authority_below(issuing, key("deep").public_key()).tbs(), "path length")


async def test_what_a_root_excludes_no_authority_below_it_signs(keystore):
    top, middle = await held(keystore), await held(keystore)
    subtree = x509.NameConstraints([x509.DNSName("example.org")], None)
    of_root = root(top.public, extensions=(extension(subtree, critical=True),))
    issuing = authority_below(of_root, middle.public)
    await signs(keystore, top, of_root.tbs())
    await signs(keystore, top, issuing.tbs())

    def server(host):
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        return below(issuing, key("leaf").public_key(), extensions=(extension(names),)).tbs()

    await signs(keystore, middle, server("www.example.org"))
    await refuses(keystore, middle, server("www.example.net"), "www.example.net is not within")


@pytest.mark.parametrize("purpose", [Purpose.AUTHENTICATION, Purpose.DIGITAL_SIGNATURE, Purpose.CARD_AUTHENTICATION])
async def test_no_other_key_is_a_hidden_authority(keystore, purpose):
    who = await held(keystore, purpose)

    await signs(keystore, who, b"hello")
    await refuses(keystore, who, root(who.public).tbs(), "only a certificate-signing key signs")
    await refuses(keystore, who, crl(root(who.public)), "only a certificate-signing key signs")


async def test_a_responders_key_signs_status_answers_and_nothing_else(keystore):
    who = await held(keystore, Purpose.OCSP_SIGNING)

    await signs(keystore, who, response_data(who.public))
    await refuses(keystore, who, b"hello", "no ResponseData")
    await refuses(keystore, who, root(who.public).tbs(), "no ResponseData")


@pytest.mark.parametrize("purpose", [Purpose.SSH_CERTIFICATE_SIGNING, Purpose.NATS_ACCOUNT, Purpose.NATS_USER])
async def test_keys_of_other_worlds_sign_no_certificate(keystore, purpose):
    who = await held(keystore, purpose)

    await refuses(keystore, who, root(who.public).tbs(), "")


async def test_a_key_for_key_management_signs_nothing(keystore):
    await refuses(keystore, await held(keystore, Purpose.KEY_MANAGEMENT), b"hello", "signs nothing")


async def test_notes_that_cannot_be_read_stop_the_key_and_are_no_accident(bucket, keystore):
    _, middle, _, issuing = await hierarchy(keystore)
    document = await bucket.get(middle.place)
    await bucket.put(document.key, b"{}", document.revision)

    answer = await (await process(bucket)).perform(middle.asked(below(issuing, key("leaf").public_key()).tbs()))

    assert isinstance(answer, PrivateKeyUnavailable)
    assert "unreadable" in answer.reason


# -- binding -----------------------------------------------------------------------------------------------------------
ELSEWHERE = root(key("elsewhere").public_key(), "Elsewhere")


def pem(certificate, signer="elsewhere"):
    return certificate.finished(key(signer)).public_bytes(PEM).decode()


async def test_an_authority_whose_issuer_is_elsewhere_is_bound(bucket, keystore):
    who = await held(keystore)
    issuing = authority_below(ELSEWHERE, who.public)
    leaf = below(issuing, key("leaf").public_key())
    await refuses(keystore, who, leaf.tbs(), "key.bind-authority")

    request = BindCertificate(who.key_id, pem(issuing))
    answer = await keystore.perform(request)

    fingerprint = x509.load_pem_x509_certificate(request.certificate_pem.encode()).fingerprint(SHA256()).hex()
    assert answer == CaCertificateRegistered(request, fingerprint)
    assert await keystore.perform(request) == answer
    for store in (keystore, await process(bucket)):
        await signs(store, who, leaf.tbs())


@pytest.mark.parametrize(
    ("certificate", "because"),
    [
        (lambda _: pem(ELSEWHERE), "the public key in it is not this key's"),
        (lambda public: pem(below(ELSEWHERE, public)), "not a CA certificate"),
        (lambda public: pem(root(public)), "its own key did not sign it"),
        (lambda public: pem(authority_below(ELSEWHERE, public, usages=("crl_sign",))), "keyCertSign"),
        (lambda _: "-----BEGIN CERTIFICATE-----\nnonsense", "PEM"),
    ],
)
async def test_what_makes_no_authority_of_the_key_is_not_bound(bucket, keystore, certificate, because):
    who = await held(keystore)

    answer = await keystore.perform(BindCertificate(who.key_id, certificate(who.public)))

    assert isinstance(answer, CaCertificateInvalid)
    assert because in answer.reason
    assert await bucket.get(who.place) is None


async def test_a_root_that_the_key_has_signed_is_bound_and_can_be_renewed(keystore):
    who = await held(keystore)
    own = root(who.public)
    signed = x509.load_der_x509_certificate(await signs(keystore, who, own.tbs())).public_bytes(PEM).decode()

    assert isinstance(await keystore.perform(BindCertificate(who.key_id, signed)), CaCertificateRegistered)
    await signs(keystore, who, own.but(serial=2, ends=NOW + 20 * YEAR).tbs())
