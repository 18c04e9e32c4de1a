"""The repository (RFC 5280, 3): serves the documents of KEYS_VIEWS to relying parties over HTTP, and nothing else."""
