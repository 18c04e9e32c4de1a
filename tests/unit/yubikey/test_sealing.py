"""Private keys that were sealed to the YubiKey service."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.yubikey.state.sealing import SUITE, SealError, SealingKey
from shared.contracts.key.value_types import sealing_info


class TestSealing:
    KEY_ID = "0192f0c1-0000-7000-8000-00000000000a"

    def seal(self, sealing_key, content, key_id=KEY_ID):
        recipient = X25519PublicKey.from_public_bytes(sealing_key.public)
        return SUITE.encrypt(content, recipient, sealing_info(key_id))

    def test_a_key_sealed_to_it_opens(self):
        key, sealing_key = rsa.generate_private_key(65537, 2048), SealingKey(bytes(32))
        pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

        opened_key = sealing_key.unseal_private_key(self.seal(sealing_key, pkcs8), self.KEY_ID)

        assert opened_key.private_numbers() == key.private_numbers()

    def test_the_key_pair_follows_from_the_secret(self):
        assert SealingKey(bytes(32)).public == SealingKey(bytes(32)).public != SealingKey(bytes([1] * 32)).public

    def test_what_was_sealed_before_the_secret_was_another_opens_and_new_keys_are_sealed_to_the_new_one(self):
        before, now = SealingKey(bytes(32)), SealingKey(bytes([1] * 32), previous=bytes(32))

        assert now.unseal(SUITE.encrypt(b"x", X25519PublicKey.from_public_bytes(before.public), b"i"), b"i") == b"x"
        assert now.public == SealingKey(bytes([1] * 32)).public
        with pytest.raises(SealError, match="does not open"):
            now.unseal_private_key(self.seal(SealingKey(bytes([2] * 32)), b"secret"), self.KEY_ID)

    def test_under_another_key_id_it_does_not_open(self):
        sealing_key = SealingKey(bytes(32))

        with pytest.raises(SealError, match="does not open"):
            sealing_key.unseal_private_key(self.seal(sealing_key, b"secret", "another"), self.KEY_ID)

    @pytest.mark.parametrize("junk", [b"", b"short", bytes(100)])
    def test_junk_does_not_open(self, junk):
        with pytest.raises(SealError, match="does not open"):
            SealingKey(bytes(32)).unseal_private_key(junk, self.KEY_ID)

    def test_what_is_no_private_key_is_not_told(self):
        sealing_key = SealingKey(bytes(32))

        with pytest.raises(SealError) as error:
            sealing_key.unseal_private_key(self.seal(sealing_key, b"a secret of another kind"), self.KEY_ID)

        assert "secret of another kind" not in str(error.value)
        assert error.value.__cause__ is None
