"""Selectors to references: listings, filters, each reference once."""
