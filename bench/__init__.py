"""What storage and delivery cost, measured on the real parts. `make bench` prints it."""
