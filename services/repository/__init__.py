"""The repository (RFC 5280's word): it serves relying parties over HTTP what stands in KEYS_VIEWS, and nothing else."""
