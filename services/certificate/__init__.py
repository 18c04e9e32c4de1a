"""The certificate service: builds certificates, CRLs and OCSP responses and attaches signatures; has no private key."""
