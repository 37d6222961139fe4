"""An embedded registry and token service: for the demo and for tests."""
