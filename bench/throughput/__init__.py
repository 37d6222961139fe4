"""How fast, and at what cost, auditor and its peers read the same registry."""
