"""Custody of private keys: key-encryption keys, sealing, and the entries of KEYS_SECRETS."""
