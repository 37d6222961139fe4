"""How much one host is asked, how soon, and when it is left alone."""
