"""The certificate service: it builds what is to be signed and attaches the signature; it holds no private key."""
