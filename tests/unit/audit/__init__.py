"""Unit tests of auditor.audit."""
