"""Logins, tokens, and the authorization of each request.

Theory of operation
-------------------
1. `HostPlan` (`registry/host_plan.py`) knows what a host requires: no credential,
   Basic, or a bearer token from a realm.
2. `HostAuth.for_scope` returns the `ScopeAuth` of a scope, which authorizes requests.
   `cached()` gives the authorization of the last request; otherwise `authorization()`
   gets one.
3. `Accounts` finds the account for the repository's namespace. The `CredentialStore`
   looks in the configuration, then in docker's and podman's files (`docker_config`),
   and runs credential helpers (`credential_helper`).
4. `TokenCache` has the token of a scope, or lets `TokenService` request it: one request
   per scope at a time, renewed before it expires.
5. After a 401, `after_401` discards the token, learns from the challenge, and gives
   another authorization, possibly for the wider scope that the challenge asks for. The
   refusal is final if the new token was never accepted. `elsewhere` gives an anonymous
   token of another registry that a name redirects to.

A password that the registry has not accepted yet is sent by one request at a time
(`LoginTrial`), because registries lock accounts after some wrong passwords.

Terms
-----
- challenge: the `WWW-Authenticate` of a 401: a scheme and its parameters.
- realm: the URL of the token service, a parameter of a Bearer challenge.
- scope: the resource and actions that a token is requested for, such as
  `repository:team/app:pull`.
- grant: what a token allows, by its `access` claim; it may be less than the scope.
- credential: a login, an identity token or a registry token.
- account: the credential that one namespace of a registry uses.
- authorization: the `Authorization` header of a request, and its token and scope.
"""
