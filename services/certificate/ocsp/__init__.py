"""The aggregate `ocsp`: pre-signed batches of OCSP responses (RFC 6960)."""
