"""Signatures of tokens and of schema 1 manifests, and the keys that make them good."""
