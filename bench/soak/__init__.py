"""Everything at once for as long as wanted, and a verdict at the end. `make soak` runs it."""
