"""The YubiKey service: carries out commands on YubiKeys and publishes the results as events."""
