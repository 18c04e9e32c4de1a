"""The read models in KEYS_VIEWS and their projector."""
