"""How the suite is run: the local runner and demo, and what is generated from the catalog."""
