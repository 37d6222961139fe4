"""Benchmarks; each prints how it was run."""
