"""Tests of `auditor.registry.auth`."""
