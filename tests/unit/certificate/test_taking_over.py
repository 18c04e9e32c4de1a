"""Import of certificates that were issued elsewhere, and its rejections."""

import asyncio
import base64
import shutil
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.contracts.certificate.commands import ImportCertificate, RevokeCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateImported
from shared.contracts.certificate.value_types import Profile
from shared.contracts.key.value_types import Algorithm
from shared.contracts.rejection import RejectionCode
from shared.decider import AlreadyDone, Rejection
from shared.messages.ids import new_id
from tests.support.in_memory_ca import Authority, private_key, request
from tests.support.scenario import NOON

ROOT_KEY, CA_KEY, HOLDER = (private_key(Algorithm.EC_P256, n) for n in range(3))


async def elsewhere():
    """Another PKI: its root, its intermediate and a server's certificate, as PEM."""
    authority = Authority()
    root = await authority.root(ROOT_KEY)
    issuer = await authority.intermediate(CA_KEY, root, ROOT_KEY)
    leaf = await authority.issue(request(Profile.TLS_SERVER, HOLDER, issuer_id=issuer.certificate_id), CA_KEY)
    return root.certificate_pem, issuer.certificate_pem, leaf.certificate_pem


async def take(authority, pem, profile, at=NOON, **fields):
    wish = {"certificate_id": str(new_id())} | fields
    return await authority.ask(ImportCertificate(certificate_pem=pem, profile=profile, **wish), at)


def refused(answer, code, *words):
    assert isinstance(answer, Rejection), answer
    assert answer.code is code
    for word in words:
        assert word in answer.message


async def test_a_whole_pki_is_taken_over_and_goes_on_issuing():
    authority, (root_pem, issuer_pem, leaf_pem) = Authority(), await elsewhere()

    root = await take(authority, root_pem, Profile.ROOT)
    key_id = str(new_id())
    issuer = await take(authority, issuer_pem, Profile.INTERMEDIATE, issuer_id=root.certificate_id, key_id=key_id)
    leaf = await take(authority, leaf_pem, Profile.TLS_SERVER, issuer_id=issuer.certificate_id)

    assert all(isinstance(each, CertificateImported) for each in (root, issuer, leaf))
    certificate = x509.load_pem_x509_certificate(leaf_pem.encode())
    assert leaf.serial == f"{certificate.serial_number:x}"
    assert leaf.fingerprint_sha256 == certificate.fingerprint(hashes.SHA256()).hex()
    assert (leaf.not_before, leaf.not_after) == (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    assert leaf.expiring_at < leaf.not_after
    created = await authority.ask(request(Profile.TLS_CLIENT, HOLDER, issuer_id=issuer.certificate_id))
    assert isinstance(created, CertificateCreated)
    assert created.signing_key_id == key_id


async def test_what_is_taken_over_is_kept_in_one_form_and_once():
    authority, (root_pem, *_) = Authority(), await elsewhere()
    certificate_id = str(new_id())

    root = await take(authority, root_pem.replace("\n", "\r\n"), Profile.ROOT, certificate_id=certificate_id)

    assert root.certificate_pem == root_pem
    assert await take(authority, root_pem, Profile.ROOT, certificate_id=certificate_id) == AlreadyDone()
    other = (await elsewhere())[0]
    refused(
        await take(authority, other, Profile.ROOT, certificate_id=certificate_id), RejectionCode.CONFLICT, "another"
    )


async def test_its_issuer_is_taken_over_first_and_must_be_the_one():
    authority, (root_pem, issuer_pem, leaf_pem) = Authority(), await elsewhere()
    root = await take(authority, root_pem, Profile.ROOT)

    unknown = await take(authority, issuer_pem, Profile.INTERMEDIATE, issuer_id=str(new_id()))
    wrong = await take(authority, leaf_pem, Profile.TLS_SERVER, issuer_id=root.certificate_id)
    nobody = await take(authority, issuer_pem, Profile.INTERMEDIATE)
    no_root = await take(authority, issuer_pem, Profile.ROOT)

    refused(unknown, RejectionCode.NOT_FOUND, "import the issuer first")
    refused(wrong, RejectionCode.INVALID, "issuer_id")
    refused(nobody, RejectionCode.INVALID, "import its issuer first")
    refused(no_root, RejectionCode.INVALID, "its own key")


async def test_it_must_fit_its_profile():
    authority, (root_pem, issuer_pem, leaf_pem) = Authority(), await elsewhere()
    root = await take(authority, root_pem, Profile.ROOT)
    issuer = await take(authority, issuer_pem, Profile.INTERMEDIATE, issuer_id=root.certificate_id)

    as_client = await take(authority, leaf_pem, Profile.TLS_CLIENT, issuer_id=issuer.certificate_id)
    as_authority = await take(authority, leaf_pem, Profile.INTERMEDIATE, issuer_id=issuer.certificate_id)
    as_leaf = await take(authority, issuer_pem, Profile.TLS_SERVER, issuer_id=root.certificate_id)

    refused(as_client, RejectionCode.INVALID, "1.3.6.1.5.5.7.3.2")
    refused(as_authority, RejectionCode.INVALID, "basicConstraints")
    refused(as_leaf, RejectionCode.INVALID, "is a CA certificate")


async def test_what_has_ended_is_not_taken_over():
    root_pem, *_ = await elsewhere()

    answer = await take(Authority(), root_pem, Profile.ROOT, NOON + timedelta(days=3651))

    refused(answer, RejectionCode.CONFLICT, "expired on")


def followed_by_more(pem):
    encoded = base64.b64decode("".join(pem.splitlines()[1:-1])) + b"\x00"
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(encoded).decode()}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "spoil",
    [
        followed_by_more,
        lambda pem: pem + pem,
        lambda pem: pem + "and more\n",
        lambda pem: pem.replace("CERTIFICATE", "PUBLIC KEY"),
        lambda _: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        lambda pem: pem[:300],
    ],
)
async def test_only_exactly_one_certificate_is_taken_over(spoil):
    root_pem, *_ = await elsewhere()

    refused(await take(Authority(), spoil(root_pem), Profile.ROOT), RejectionCode.INVALID, "certificate_pem")


def self_signed(*extensions, serial=1, key=ROOT_KEY):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old Root")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(serial).not_valid_before(NOON).not_valid_after(NOON + timedelta(days=9))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


BASIC = x509.BasicConstraints(ca=True, path_length=None)
USAGE = x509.KeyUsage(*[name in (5, 6) for name in range(9)])
IDENTIFIER = x509.SubjectKeyIdentifier(b"\x01" * 20)
DIRECTORY = x509.NameConstraints(
    [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "CH")]))], None
)
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@pytest.mark.parametrize(
    ("extensions", "word"),
    [
        ((), "basicConstraints"),
        ((BASIC, x509.KeyUsage(*[name == 0 for name in range(9)])), "keyCertSign"),
        ((BASIC, USAGE), "subjectKeyIdentifier"),
        ((BASIC, USAGE, IDENTIFIER, DIRECTORY), "DirectoryName"),
        ((BASIC, USAGE, IDENTIFIER, STRANGE), "critical extension"),
    ],
)
async def test_an_authority_of_which_too_little_or_too_much_is_said_is_not_taken_over(extensions, word):
    refused(await take(Authority(), self_signed(*extensions), Profile.ROOT), RejectionCode.INVALID, word)


async def test_an_authority_without_a_path_length_issues_authorities_of_any_that_is_asked_for():
    authority = Authority()
    root = await take(authority, self_signed(BASIC, USAGE, IDENTIFIER), Profile.ROOT, key_id=str(new_id()))

    wish = request(Profile.INTERMEDIATE, CA_KEY, issuer_id=root.certificate_id, path_length=5, validity_days=5)
    issuer = await authority.issue(wish, ROOT_KEY)

    identifier = x509.load_pem_x509_certificate(issuer.certificate_pem.encode()).extensions
    assert identifier.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == IDENTIFIER.digest


async def test_a_weak_key_is_not_taken_over():
    weak = self_signed(BASIC, USAGE, IDENTIFIER, key=ec.generate_private_key(ec.SECP521R1()))

    refused(await take(Authority(), weak, Profile.ROOT), RejectionCode.INVALID, "P-256 or P-384")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="cryptography makes no such certificate")
async def test_a_signature_that_can_be_forged_is_not_taken_over():
    command = "openssl req -x509 -newkey rsa:2048 -nodes -sha1 -subj /CN=Old -days 9000 -keyout /dev/null -outform PEM"
    process = await asyncio.create_subprocess_exec(
        *command.split(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    pem, _ = await process.communicate()

    refused(await take(Authority(), pem.decode(), Profile.ROOT), RejectionCode.INVALID, "sha1", "forged")


async def test_an_authority_of_ml_dsa_is_taken_over():
    elsewhere_root = await Authority().root(private_key(Algorithm.ML_DSA_65))

    assert isinstance(await take(Authority(), elsewhere_root.certificate_pem, Profile.ROOT), CertificateImported)


async def test_a_certificate_is_taken_over_under_one_id_only_whatever_became_of_it():
    authority, (root_pem, issuer_pem, _) = Authority(), await elsewhere()
    root = await take(authority, root_pem, Profile.ROOT)
    issuer = await take(authority, issuer_pem, Profile.INTERMEDIATE, issuer_id=root.certificate_id)

    again = await take(authority, issuer_pem, Profile.INTERMEDIATE, issuer_id=root.certificate_id)
    refused(again, RejectionCode.CONFLICT, issuer.certificate_id, "stored already")

    await authority.ask(RevokeCertificate(certificate_id=issuer.certificate_id))
    again = await take(authority, issuer_pem, Profile.INTERMEDIATE, issuer_id=root.certificate_id)
    refused(again, RejectionCode.CONFLICT, issuer.certificate_id)
