"""Commands and events of certificates, CRLs, OCSP responses, SSH certificates, NATS JWTs and trust bundles."""
