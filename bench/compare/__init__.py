"""Rolltrace beside other gateways, in one run on one machine. `make bench` prints it."""
