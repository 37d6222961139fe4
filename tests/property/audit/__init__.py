"""Property tests of auditor.audit."""
