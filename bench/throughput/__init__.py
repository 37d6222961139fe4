"""Speed and cost of auditor and comparable programs at the same registry."""
