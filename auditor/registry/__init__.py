"""The network: one `Registry` object per host."""
