"""Tests of the demo worker, bottom up: the model, the choices, the answers, the server."""
