"""Records to files and people."""
