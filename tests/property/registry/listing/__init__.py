"""Tests of `auditor.registry.listing`."""
