"""A CA in memory: the certificate decider and its performer, with the test's private keys."""

from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.certificate.policy.rules import Policy
from services.certificate.x509.domain import certificate_decider
from services.certificate.x509.performer import CertificatePerformer
from services.certificate.x509.states import Certificate, Issued, Revoked
from shared.contracts.base import Command, Event
from shared.contracts.certificate.commands import CreateCertificate, SignCertificate
from shared.contracts.certificate.events import CertificateCreated, CertificateSigned
from shared.contracts.certificate.value_types import DistinguishedName, Profile, SanKind, SubjectAlternativeName
from shared.contracts.key.value_types import Algorithm, SignatureAlgorithm
from shared.decider import AlreadyDone, Context, Rejection, run
from shared.messages.ids import new_id
from tests.support.scenario import NOON


@lru_cache
def private_key(algorithm, which=0):  # noqa: ARG001 - it is the key of the cache
    """Returns the same key for the same arguments; *which* distinguishes keys of one algorithm."""
    match algorithm:
        case Algorithm.RSA_2048 | Algorithm.RSA_3072 | Algorithm.RSA_4096:
            return rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa-")))
        case Algorithm.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case Algorithm.EC_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case Algorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case Algorithm.X25519:
            return x25519.X25519PrivateKey.generate()
        case Algorithm.ML_DSA_65:
            return mldsa.MLDSA65PrivateKey.generate()


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(key, algorithm, message):
    """Signs like the key service on `key.sign`."""
    match algorithm:
        case SignatureAlgorithm.RSA_PKCS1_SHA256:
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case SignatureAlgorithm.ECDSA_SHA256:
            return key.sign(message, ec.ECDSA(hashes.SHA256()))
        case SignatureAlgorithm.ECDSA_SHA384:
            return key.sign(message, ec.ECDSA(hashes.SHA384()))
        case SignatureAlgorithm.ED25519 | SignatureAlgorithm.ML_DSA_65:
            return key.sign(message)


DAYS = {
    Profile.ROOT: 3650,
    Profile.INTERMEDIATE: 1825,
    Profile.OCSP_RESPONDER: 30,
    Profile.TLS_SERVER: 90,
}
NAMED = {
    Profile.TLS_SERVER: (("www.example.org", SanKind.DNS),),
    Profile.EMAIL: (("alice@example.org", SanKind.EMAIL),),
}
"""Subject alternative names that the profile requires."""
EVERYTHING = Policy(ml_dsa=True)


def san(value, kind=SanKind.DNS):
    return SubjectAlternativeName(kind=kind, value=value)


def request(profile, key, **fields):
    """Returns a `certificate.create` with the required fields of its profile."""
    sans = tuple(san(*each) for each in NAMED.get(profile, ()))
    common_name = sans[0].value if profile is Profile.TLS_SERVER else profile.replace("-", " ")
    defaults = {
        "certificate_id": str(new_id()),
        "subject": DistinguishedName(common_name=common_name, organization="CIM", country="CH"),
        "sans": sans,
        "validity_days": DAYS.get(profile, 365),
    }
    if "csr_pem" not in fields:
        defaults["public_key_pem"] = public_pem(key)
    return CreateCertificate(profile=profile, **(defaults | fields))


class Authority:
    """Decides, performs and evolves like the service, without NATS."""

    def __init__(self, policy: Policy = EVERYTHING) -> None:
        self.certificates: dict[str, Certificate] = {}
        self._decider = certificate_decider(policy)
        self._performer = CertificatePerformer(self._current, find_serial=self._find_serial)

    async def _current(self, certificate_id: str) -> Certificate:
        return self.certificates.get(certificate_id, self._decider.initial)

    async def _find_serial(self, issuer_id: str, serial: str) -> str | None:
        for certificate_id, each in self.certificates.items():
            if isinstance(each, Issued | Revoked) and (each.issuer_id, each.serial) == (issuer_id, serial):
                return certificate_id
        return None

    async def ask(self, command: Command, at=NOON, actor="anonymous") -> Event | Rejection | AlreadyDone:
        state = await self._current(command.identity)
        context = Context(command_id=new_id(), aggregate_id=command.identity, at=at, actor=actor)
        answer = await run(self._decider, self._performer.perform, state, command, context)
        if isinstance(answer, Event):
            self.certificates[command.identity] = self._decider.evolve(state, answer)
        return answer

    async def issue(self, create: Command, signing_key, at=NOON) -> CertificateSigned:
        created = await self.ask(create, at)
        assert isinstance(created, CertificateCreated), created
        signature = sign(signing_key, created.signature_algorithm, created.tbs)
        signed = await self.ask(SignCertificate(certificate_id=create.certificate_id, signature=signature), at)
        assert isinstance(signed, CertificateSigned), signed
        return signed

    async def root(self, key, at=NOON, **fields) -> CertificateSigned:
        return await self.issue(request(Profile.ROOT, key, **({"key_id": str(new_id())} | fields)), key, at)

    async def intermediate(self, key, root: CertificateSigned, root_key, at=NOON, **fields) -> CertificateSigned:
        fields = {"key_id": str(new_id()), "issuer_id": root.certificate_id} | fields
        return await self.issue(request(Profile.INTERMEDIATE, key, **fields), root_key, at)
