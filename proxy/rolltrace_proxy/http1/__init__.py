"""HTTP/1.1 on both sides of the proxy: `inbound` are the agents, `outbound` the workers."""
