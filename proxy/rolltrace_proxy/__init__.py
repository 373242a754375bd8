"""The HTTP data plane: forwards the agents' calls and records them."""
