"""Unit tests of auditor.report."""
