"""The network: one `Registry` per host, and everything a request to it needs.

Theory of operation
-------------------
1. `Registries` puts a `Registry` per host together from the parts below, on first use.
2. `Registry` has the operations of the distribution API: manifests, blobs, referrers,
   listings. Each is one or more calls of `RequestSender.send`.
3. `RequestSender` (`request.py`) is the request loop. Its `Admission` asks `HostHealth`
   whether the host may be asked at all (a circuit breaker), `HostLimits` how much
   (concurrency, pace, rate limit, quota), and an `Authorizer` (`auth/`) for the header
   to send.
4. `Transport` (`transport/`) sends the request and returns a `Response` or a `Failure`;
   nothing raises. `wire.retry_policy.decide` says what follows: return, authenticate,
   wait and retry, or fail.
5. `HostPlan` knows how requests to the host are authorized: from the one ping of
   `/v2/`, from the configuration, or from a later challenge.
6. `listing/` pages through tags and repositories, by the distribution API or by that of
   a product (`products/`).

A registry, its token service and a product API on another host have one
`RequestSender` each, with slots and health of their own, over one `Transport`.
"""
