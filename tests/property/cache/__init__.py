"""Property tests of auditor.cache."""
