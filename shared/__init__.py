"""The kernel every service stands on: the wire's grammar and language, the decider, the event store, the runtime."""
