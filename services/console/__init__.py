"""The command line client: like any client of the suite, it uses NATS only."""
