"""HTTP rules of registries as pure functions: no I/O, no clock, no randomness.

The request loop (`auditor.registry.request`) applies them in this order:

1. `proxy` chooses the proxy, `url_policy` decides which URLs may be requested.
2. The `response.Response` comes back; `redirect.follow_redirect` returns the next hop.
3. `retry_policy.decide` returns `Authenticate`, `Wait` or `Fail` for a response that is
   not a success. `error_body` extracts the message of an error.
4. To authenticate, `challenge` parses WWW-Authenticate and builds the `Scope`;
   `url_policy.check_realm` checks the token service; `credential` has the kinds of
   credentials; `token` parses the token response and the claims of a token.
5. `rate_limit` parses the rate limit headers.

`token_keys` verifies token signatures with the user's keys. It imports cryptography,
which is slow, and so is imported only when there are keys.
"""
