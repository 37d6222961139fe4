"""Unit tests of auditor.input."""
