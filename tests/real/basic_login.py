"""The account of the registries with Basic authentication."""

from __future__ import annotations

from auditor.demo.demo_tokens import DemoAccount

USER = DemoAccount("auditor", "p:ss wörd")
# Its bcrypt hash with the lowest cost, as `htpasswd -nbBC 5` makes it.
LINE = "auditor:$2y$05$abcdefghijklmnopqrstuu/NBvsL8YVmV5tTkiRaAK.aQbDYpOpR6\n"
