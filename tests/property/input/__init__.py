"""Property tests of auditor.input."""
