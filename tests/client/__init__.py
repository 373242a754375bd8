"""Tests of the client and the command, against a real gRPC server."""
