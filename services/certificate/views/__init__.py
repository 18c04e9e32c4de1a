"""Views: the documents of KEYS_VIEWS, the projector that writes them, queries on them, and inventory metrics."""
