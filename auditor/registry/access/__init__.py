"""TODO: theory of operation."""
