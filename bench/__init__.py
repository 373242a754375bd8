"""What Rolltrace costs, measured on the real parts. `make bench` prints it beside other gateways."""
