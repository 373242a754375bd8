"""What the gateway needs when very much comes at once. `make bounds` prints it."""
