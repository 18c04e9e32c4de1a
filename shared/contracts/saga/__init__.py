"""Commands and events of sagas: the protocol all share, and the messages of each."""
