"""The service's own state: leases, intents, sealed device secrets, and its home directory."""
