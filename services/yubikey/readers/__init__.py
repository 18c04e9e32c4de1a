"""Sources of devices: PC/SC readers of this machine, and the virtual YubiKeys."""
