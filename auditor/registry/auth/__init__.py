"""Who asks, and with what: logins, tokens, and the authorization of each request."""
