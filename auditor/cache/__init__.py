"""What is addressed by a digest, kept from one run to the next (SQLite)."""
