"""HTTP: from a URL to a `Response` or a `Failure`.

Theory of operation
-------------------
1. `Transport.request` picks a client by the origin of the URL and follows redirects.
2. `Http1Client` (`http1.py`) sends GET and HEAD to one origin. It reuses an idle
   `Connection` (`http1_connection.py`) or lets the `Dialer` make one; `ResponseParser`
   (`http1_parser.py`) reads the response with llhttp, `LoopTurns` (`loop_turns.py`)
   says when it came. `NameLookups` (`name_lookup.py`)
   resolves the names of all hosts, for both clients, and `ConnectionBudget`
   (`connection_budget.py`) shares the descriptors of the process among them.
3. `AiohttpClient` sends requests over a proxy or with a body; imported on first use.
4. `SsrfGuard` checks the addresses of hosts that only a registry named, for both
   clients. `tls.py` has the CAs and the client certificate.
5. `failures.py` maps every exception to a `Failure`, `aiohttp_failures.py` those of
   aiohttp.

`ConnectionProbe` runs DNS, TCP and TLS one step at a time, for `auditor doctor`.
"""
