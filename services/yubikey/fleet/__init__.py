"""Several processes and their devices: watching for devices, and routing commands to the process that has one."""
