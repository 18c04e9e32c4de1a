"""The edge to NATS: the client, connections, streams, key-value buckets, consumers and readers of the log."""
