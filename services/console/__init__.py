"""The people's client: a command line that, like any user of the suite, speaks only NATS."""
