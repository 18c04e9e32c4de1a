"""Commands and events of YubiKeys."""
