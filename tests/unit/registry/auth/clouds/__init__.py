"""Tests of `auditor.registry.auth.clouds`."""
