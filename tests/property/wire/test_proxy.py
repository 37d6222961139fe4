from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.util.text import safe_text
from auditor.wire.proxy import (
    InvalidProxy,
    Proxy,
    parse_proxy,
    proxies_from_environment,
)
from auditor.wire.url_policy import Origin
from tests.examples import examples

LABELS = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
PORTS = st.integers(1, 65535)
TEXT = st.text(max_size=24)


def https(host: str, port: int) -> Origin:
    return Origin(scheme="https", host=host, port=port)


@examples(150)
@given(TEXT, TEXT, HOSTS, PORTS)
def test_any_environment_selects_proxies_without_an_exception(
    proxy: str, no_proxy: str, host: str, port: int
) -> None:
    proxies = proxies_from_environment({"HTTPS_PROXY": proxy, "NO_PROXY": no_proxy})
    found = proxies.choose(https(host, port))
    assert found is None or isinstance(found, Proxy | InvalidProxy)
    if isinstance(found, InvalidProxy):
        assert safe_text(found.detail, 1000) == found.detail


@examples(80)
@given(TEXT.filter(bool), TEXT.filter(lambda text: len(text) > 3))
def test_proxy_passwords_are_not_printed(name: str, password: str) -> None:
    found = parse_proxy(f"socks5://{name}:{password}@proxy:1", "ALL_PROXY")
    plain = parse_proxy("socks5://proxy:1", "ALL_PROXY")
    assert repr(found) == repr(plain)


@examples(80)
@given(HOSTS, HOSTS, PORTS, st.sampled_from(["", ".", "*."]), st.booleans())
def test_a_no_proxy_entry_matches_a_domain_and_its_subdomains(
    named: str, host: str, port: int, prefix: str, below: bool
) -> None:
    asked = f"{host}.{named}" if below else host
    entry = prefix + named
    proxies = proxies_from_environment(
        {"HTTPS_PROXY": "proxy:1", "NO_PROXY": f"x.y,{entry}"}
    )
    direct = asked.endswith(f".{named}") or (asked == named and not prefix)
    if not asked.endswith(".y"):
        assert (proxies.choose(https(asked, port)) is None) == direct


@examples(80)
@given(HOSTS, PORTS, PORTS)
def test_a_no_proxy_entry_with_a_port_matches_that_port(
    host: str, port: int, other: int
) -> None:
    proxies = proxies_from_environment(
        {"HTTPS_PROXY": "proxy:1", "NO_PROXY": f"{host}:{port}"}
    )
    assert (proxies.choose(https(host, other)) is None) == (port == other)
