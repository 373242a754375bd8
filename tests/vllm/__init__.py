"""End to end on a real vLLM: what a trace holds is what vLLM says when it is asked directly."""
