"""Tests of `auditor.registry.products`."""
