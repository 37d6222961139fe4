"""Logins to the clouds' registries with the identity of this machine.

Theory of operation
-------------------
1. `wire/cloud_hosts.py` says whether a host name is a registry of AWS, Google or Azure.
   Only then, over https, and only if the setting `cloud_login` allows it, `CloudLogins`
   is asked (`auth/credentials.py`).
2. `CloudLogins` calls the cloud's own library in a thread, with a time limit: once per
   registry of ECR and Azure, once for all registries of Google. It keeps the login, and
   gets another one before it expires.
3. `aws_identity`, `google_identity` and `azure_identity` call the libraries, which are
   extras and imported there. They return a `MachineToken`, None if this machine has no
   identity of the cloud, and raise `ProtocolError` for one that cannot be used.
4. The token of Azure is exchanged at the registry (`exchange_azure_token`) for a
   refresh token; the others are the password of a login.

A login from here carries its cloud (`FoundCredential.machine`): the token service sends
it to no realm of another host than the cloud's.
"""
