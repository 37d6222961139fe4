"""Where tokens come from and what verifies them."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.values import several
from auditor.config.values.texts import HOST, PATH, TEXT, URL

TOKENS: tuple[Option, ...] = (
    Option(
        name="token_url",
        value=URL,
        help="Where to get tokens, instead of where the registry's challenge says.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="service",
        value=TEXT,
        help="The service to ask tokens for, instead of the challenge's.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="realm_hosts",
        value=several(HOST),
        help="Hosts that may ask for the password though their address is local.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="token_keys",
        value=PATH,
        help="Keys that verify tokens: a PEM bundle or a JWKS file.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--keys",),
    ),
)
