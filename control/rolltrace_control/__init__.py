"""The gRPC control plane: sessions, workers, and the traces as a live log."""
