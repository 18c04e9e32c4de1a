"""The YubiKey service: carries out commands on YubiKeys and says in events what they did."""
