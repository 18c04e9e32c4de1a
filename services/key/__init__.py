"""The key service: generates and stores keys, and signs what each key's purpose allows."""
