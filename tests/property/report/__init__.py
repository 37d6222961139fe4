"""Property tests of auditor.report."""
