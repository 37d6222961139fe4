"""The proxy of a request, with the cases of Go's httpproxy."""

from __future__ import annotations

import base64

import pytest

from auditor.wire.proxy import (
    InvalidProxy,
    Proxy,
    parse_proxy,
    proxies_from_environment,
)
from auditor.wire.url_policy import origin_of

PROXY = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2"}


def chosen(url: str, setting: str | None = None, **environment: str) -> str | None:
    """The host of the proxy for a URL, or None for a direct connection."""
    proxy = proxies_from_environment(environment, setting).choose(origin_of(url))
    assert not isinstance(proxy, InvalidProxy), proxy
    return None if proxy is None else proxy.origin.host


@pytest.mark.parametrize(
    ("environment", "plain", "secure"),
    [
        ({}, None, None),
        (PROXY, "plain", "secure"),
        ({"http_proxy": "p:1", "https_proxy": "s:2"}, "p", "s"),
        ({**PROXY, "http_proxy": "p:1", "https_proxy": "s:2"}, "plain", "secure"),
        ({"HTTP_PROXY": "", "http_proxy": "p:1"}, "p", None),
        ({"ALL_PROXY": "all:3"}, "all", "all"),
        ({"all_proxy": "all:3", "HTTPS_PROXY": "s:2"}, "all", "s"),
        ({**PROXY, "NO_PROXY": "*"}, None, None),
        ({**PROXY, "no_proxy": "*"}, None, None),
        # CVE-2016-5385: in a CGI program a client could have sent it.
        ({**PROXY, "REQUEST_METHOD": "GET"}, None, "secure"),
        ({"http_proxy": "p:1", "REQUEST_METHOD": "GET"}, "p", None),
    ],
)
def test_the_scheme_selects_the_variable(
    environment: dict[str, str], plain: str | None, secure: str | None
) -> None:
    assert chosen("http://registry.example.com/v2/", **environment) == plain
    assert chosen("https://registry.example.com/v2/", **environment) == secure


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, "secure"),
        ("http://proxy:9", "proxy"),
        ("proxy:9", "proxy"),
        ("none", None),
    ],
)
def test_the_setting_replaces_the_environment(
    setting: str | None, expected: str | None
) -> None:
    assert chosen("https://registry.example.com/", setting, **PROXY) == expected
    no = {**PROXY, "NO_PROXY": "registry.example.com"}
    assert chosen("https://registry.example.com/", setting, **no) is None


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "127.1", "a.localhost"],
)
def test_loopback_hosts_never_use_a_proxy(host: str) -> None:
    assert chosen(f"https://{host}:5000/v2/", **PROXY) is None
    assert chosen(f"http://{host}/v2/", "http://proxy:9") is None


@pytest.mark.parametrize(
    ("exception", "host", "direct"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        ("example.com", "a.b.example.com", True),
        ("EXAMPLE.com", "example.COM", True),
        ("example.com", "notexample.com", False),
        ("example.com", "example.com.evil.test", False),
        (".example.com", "example.com", False),
        (".example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("example.com:443", "example.com", True),
        ("example.com:8443", "example.com", False),
        ("example.com:8443", "example.com:8443", True),
        (".example.com:8443", "a.example.com:8443", True),
        ("example.com:", "example.com:8443", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("10.0.0.0/8", "10.200.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.1/8", "10.200.0.1", True),
        ("10.0.0.0/8", "ten.example.com", False),
        ("fd00::/8", "[fd12::1]", True),
        ("fd00::/8", "[fe80::1]", False),
        ("10.0.0.0/8", "[::ffff:10.1.1.1]", True),
        ("[fd12::1]:443", "[fd12::1]", True),
        ("fd12::1", "[fd12::1]:8443", True),
        ("*", "anything.example.com", True),
        ("other.test, example.com", "example.com", True),
        ("other.test example.com", "example.com", True),
        (",, ,", "example.com", False),
        (":443", "example.com", False),
        (".", "example.com", False),
        ("10.0.0.0/99", "10.0.0.1", False),
        ("com", "example.com", True),
    ],
)
def test_no_proxy_is_interpreted_as_in_go(
    exception: str, host: str, direct: bool
) -> None:
    found = chosen(f"https://{host}/v2/", **PROXY, NO_PROXY=exception)
    assert found == (None if direct else "secure")


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("http://proxy.example.com", "http://proxy.example.com"),
        ("HTTP://Proxy.Example.com:3128/", "http://proxy.example.com:3128"),
        ("https://proxy.example.com", "https://proxy.example.com"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("http://u:p@proxy:3128", "http://proxy:3128"),
        ("u:p@proxy:3128", "http://proxy:3128"),
    ],
)
def test_a_proxy_is_parsed_from_its_url(text: str, origin: str) -> None:
    found = parse_proxy(text, "HTTPS_PROXY")
    assert isinstance(found, Proxy)
    assert str(found.origin) == origin
    assert (found.authorization is not None) is ("@" in text)


@pytest.mark.parametrize(
    ("user", "pair"),
    [
        ("me:hunter2", "me:hunter2"),
        ("me", "me:"),
        ("me%40corp:p%3Aw%2F", "me@corp:p:w/"),
        ("a@b:hunter2", "a@b:hunter2"),
        ("me:p%C3%A4", "me:pä"),
    ],
)
def test_the_password_of_a_proxy_is_a_secret(user: str, pair: str) -> None:
    found = parse_proxy(f"http://{user}@proxy:3128", "HTTPS_PROXY")
    assert isinstance(found, Proxy)
    assert found.authorization is not None
    encoded = base64.b64encode(pair.encode()).decode()
    assert found.authorization.reveal() == f"Basic {encoded}"
    assert "hunter2" not in repr(found) + str(found)
    assert encoded not in repr(found) + str(found)
    assert str(found) == "http://proxy:3128 (HTTPS_PROXY)"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("socks5://me:hunter2@proxy:1080", "neither http nor https"),
        ("socks5h://proxy:1080", "neither http nor https"),
        ("http://", "is not the URL of a proxy"),
        ("http://me:hunter2@", "is not the URL of a proxy"),
        ("http://a b:3128", "is not the URL of a proxy"),
        ("http://proxy:99999", "is not the URL of a proxy"),
        ("http://proxy\r\nX: y:80", "is not the URL of a proxy"),
    ],
)
def test_an_invalid_proxy_is_a_sentence_without_the_value(
    text: str, sentence: str
) -> None:
    found = parse_proxy(text, "ALL_PROXY")
    assert isinstance(found, InvalidProxy)
    assert found.detail.startswith("ALL_PROXY ")
    assert sentence in found.detail
    assert "hunter2" not in found.detail
