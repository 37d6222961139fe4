"""Commands that look at a registry without writing a report.

Theory of operation: all of them use the code of an audit (registries, authorization,
listings), so that their findings apply to an audit.

- `doctor` runs the steps of an audit for one reference, one at a time: network (route,
  DNS, TCP, TLS), access (ping, challenge, realm, credential, token, grant), content
  (tags, manifest, referrers, catalog, rate limit). `open_session` makes a
  `DoctorSession`, `run_steps` yields a `DoctorStep` for each step, `summarize` makes
  the `DoctorReport`. A failed step has advice from `doctor_advice`, which depends on
  `Failure.reason` and `Failure.kind`.
- `token_check` requests tokens and shows what they grant: `check_token` for one
  repository, `PullAccessCheck` for many.
- `token_explain` explains the parts of a token, even of a damaged one.
- `ls` lists repositories and tags.
- `dry_run` expands the input of an audit and forecasts its requests.
"""
