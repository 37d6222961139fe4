from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.challenge import pull_scope
from auditor.wire.url_policy import address_class, check_realm, origin_of, token_url

REGISTRY = origin_of("https://registry.example")
NEARBY = st.lists(
    st.sampled_from(
        ["https://", "http://", "registry.example", "evil.example", "127.0.0.1",
         "127.1", "[::1]", "localhost", "169.254.169.254", ":443", "/", "/token",
         "?", "service=x", "#", "@", "user:pw", "\\", " ", "\r\n", "é"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


def check_refusal(error: ProtocolError, kind: FailureKind) -> None:
    assert error.kind is kind
    assert error.detail.isprintable()


@settings(max_examples=500)
@given(st.builds("https://{}".format, NEARBY) | NEARBY | st.text())
def test_a_password_only_goes_to_https_at_an_address_that_is_not_special(
    realm: str,
) -> None:
    try:
        checked = check_realm(realm, registry=REGISTRY)
    except ProtocolError as error:
        check_refusal(error, FailureKind.REALM_REFUSED)
        return
    parts = urlsplit(checked)
    assert checked == realm
    assert parts.scheme == "https"
    assert "@" not in parts.netloc
    assert "#" not in checked
    assert address_class(parts.hostname or "") is None


@given(
    st.lists(
        st.tuples(st.text("abc&= %é", min_size=1), st.text("xyz&=+ %é")), max_size=3
    ),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_a_token_url_says_exactly_what_was_asked(
    present: list[tuple[str, str]], service: str | None
) -> None:
    realm = "https://a.example/token"
    for name, value in present:
        realm = with_parameter(realm, name, value)
    url = token_url(realm, service=service, scope=pull_scope("a/b"))
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert pairs[: len(present)] == present
    asked = [("scope", "repository:a/b:pull")]
    if service is not None:
        asked.insert(0, ("service", service))
    assert pairs[len(present) :] == asked


def with_parameter(url: str, name: str, value: str) -> str:
    separator = "&" if "?" in url else "?"
    return f"{url}{separator}{quote(name, safe='')}={quote(value, safe='')}"
