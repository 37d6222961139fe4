"""Questions asked of report files; never of the network."""
