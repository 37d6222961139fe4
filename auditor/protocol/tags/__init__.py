"""Tags: which are wanted, which are the newest, which stand for a digest only."""
