"""State of the service: leases, intents, sealed device secrets, and the state directory."""
