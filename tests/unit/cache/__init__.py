"""Unit tests of auditor.cache."""
