"""What a run came to, or the shares of one together."""
