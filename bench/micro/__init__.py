"""The functions that every call or chunk goes through, each alone. `make bench-micro` runs them."""
