"""Every parser of untrusted input, as a function of bytes.

A target raises nothing unless there is a bug: it catches the documented errors of its
parser and checks the result. `seeds` are valid inputs, which
`tests/property/test_every_parser.py` mutates and `python -m tests.fuzz` explores.
"""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from multidict import CIMultiDict

from auditor.analysis.check.policy_file import read_policy
from auditor.analysis.package_versions import compare_versions
from auditor.cache.row_encoding import decode_body
from auditor.config.resolve_settings import resolve_settings
from auditor.config.toml_file import parse_toml
from auditor.diagnose.ls import parse_list_target
from auditor.diagnose.token_explain import explain_token, explanation_lines
from auditor.errors import AuditorError, ConfigError, Failure, ProtocolError, UsageError
from auditor.input.input_items import InputSelector
from auditor.input.list_reader import ListReader
from auditor.input.lists import read_list
from auditor.input.skopeo import parse_constraint, parse_version
from auditor.model import SignatureState
from auditor.oci.attachments import attachment_from_manifest
from auditor.oci.cosign_signature import verify_bundle, verify_simple_signing
from auditor.oci.descriptor import MANIFEST_TYPES, SIGNED_SCHEMA1
from auditor.oci.image_config import parse_image_config
from auditor.oci.manifest import parse_manifest, verify_manifest
from auditor.oci.notation_signature import SignedTarget, verify_notation_jws
from auditor.oci.platform import parse_platform
from auditor.oci.reference import (
    RepositoryPattern,
    parse_namespace,
    parse_reference,
    parse_registry,
    parse_selector,
)
from auditor.oci.sbom import parse_sbom
from auditor.oci.sbom_packages import parse_package_url
from auditor.oci.signature_verdict import SignatureVerdict
from auditor.oci.signing_keys import (
    SigningKeyError,
    parse_subject,
    read_certificates,
    read_public_keys,
)
from auditor.oci.tag_order import tag_order
from auditor.registry.auth.credential_helper import parse_helper_output
from auditor.registry.auth.docker_config import parse_docker_config
from auditor.registry.listing.distribution import _parse_tags
from auditor.registry.listing.json_fields import catalog_page
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitea import Gitea
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.hub import Hub
from auditor.registry.products.product import Product, parse_access_token
from auditor.registry.products.quay import Quay
from auditor.registry.transport.http1_parser import (
    BrokenOffError,
    NotHttpError,
    ResponseParser,
)
from auditor.report.locked_journal import Journal
from auditor.report.resume_index import record_offsets
from auditor.report.shard_file import ShardReport, read_positions
from auditor.util import time_span
from auditor.util.secret import mask_secrets, mask_userinfo
from auditor.util.shard import parse_shard
from auditor.util.text import safe_text, safe_url
from auditor.wire import response
from auditor.wire.challenge import parse_challenges, parse_scope, preferred_challenge
from auditor.wire.error_body import error_sentence
from auditor.wire.proxy import proxies_from_environment
from auditor.wire.rate_limit import parse_rate_limit
from auditor.wire.redirect import follow_redirect
from auditor.wire.response import Response, next_page
from auditor.wire.retry_policy import RETRY_AFTER_CAP_S, retry_after_s
from auditor.wire.token import access_of, parse_token_response
from auditor.wire.token_keys import KeySet
from auditor.wire.url_policy import (
    Origin,
    address_class,
    check_realm,
    origin_of,
    token_url,
)
from tests import manifests
from tests.support import sboms, signed_images

HOST = Origin(scheme="https", host="registry.example.com", port=443)
URL = "https://registry.example.com/v2/team/app/tags/list?n=2"
NOW = 1_795_399_200.0
CAP_BYTES = 4096
SECRET = "s3cret-of-the-fuzzer"
PRODUCTS: tuple[Product, ...] = (Dtr(), Gitea(), GitLab(), Harbor(), Hub(), Quay())


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser with its seeds."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


TARGETS: dict[str, Target] = {}


def _target(*seeds: object) -> Callable[[Callable[[bytes], None]], None]:
    """Register a target; seeds are bytes, text, or values that are sent as JSON."""

    def register(run: Callable[[bytes], None]) -> None:
        TARGETS[run.__name__] = Target(run=run, seeds=tuple(map(_bytes, seeds)))

    return register


def _bytes(seed: object) -> bytes:
    if isinstance(seed, bytes):
        return seed
    return seed.encode() if isinstance(seed, str) else json.dumps(seed).encode()


def _text(data: bytes) -> str:
    """Decode as arguments, lists and headers are decoded."""
    return data.decode("utf-8", "surrogateescape")


def _response(body: bytes, **fields: str) -> Response:
    return Response(status=200, headers=CIMultiDict(fields), body=body, url=URL)


def _is_safe(sentence: str) -> None:
    assert sentence.isprintable()
    sentence.encode()


@_target(
    'Bearer realm="https://a.example/token",service="x",scope="repository:a/b:pull"',
    'Negotiate, Basic realm="a\\"b", Bearer realm=x , error = \'y\'',
    "NTLM dG9rZW42OA==,, Digest a=b",
)
def challenge(data: bytes) -> None:
    lines = _text(data).split("\n")
    preferred_challenge(parse_challenges(lines))


@_target(
    "registry.example.com:5000/team/app:1.0",
    "host.example/team/**:v1.*",
    "[::1]:5000/a@sha256:" + "a" * 64,
    "docker://alpine",
    "u:s3cret@host.example/a:1",
)
def reference(data: bytes) -> None:
    text = _text(data)
    for parse in (parse_reference, parse_selector):
        try:
            found = parse(text)
        except ProtocolError as error:
            _is_safe(error.detail)
            continue
        _is_safe(str(found))
        if isinstance(found, RepositoryPattern):
            found.matches_repository("team/app")
    for read in (parse_list_target, parse_registry, parse_namespace):
        with suppress(ProtocolError):
            read(text)


@_target('</v2/_catalog?last=b&n=2>; rel="next"', '<a>;rel=prev,<b>; rel=next; x="y"')
def link(data: bytes) -> None:
    with suppress(ProtocolError):
        found = next_page(_text(data).split("\n"), URL)
        assert found is None or origin_of(found) == HOST


@_target(
    "https://cdn.example.com/blob?sig=1", "//10.0.0.1/x", "http://[::1]/", "../x#y"
)
def redirect(data: bytes) -> None:
    text = _text(data)
    with suppress(ProtocolError):
        found = follow_redirect(URL, text, 1)
        assert origin_of(found.url).scheme == "https"
        assert found.url.isprintable()
    safe_url(text)


@_target("Https://auth.example.com/token?service=x", "https://127.1/", "http://a@b/")
def realm(data: bytes) -> None:
    text = _text(data)
    with suppress(ProtocolError):
        checked = check_realm(text, registry=HOST)
        url = token_url(checked, service=text, scope=None, account="a b")
        assert origin_of(url).scheme == "https"
    address_class(text)


@_target("http://user:pass@proxy.example:3128", "socks5://x", "10.0.0.0/8,.example.com")
def proxy(data: bytes) -> None:
    text = _text(data)
    for name in ("https_proxy", "HTTPS_PROXY", "NO_PROXY"):
        repr(
            proxies_from_environment({"HTTP_PROXY": "http://p:1", name: text}).choose(
                HOST
            )
        )


@_target(
    manifests.image(),
    manifests.index(),
    manifests.schema1(),
    manifests.raw(manifests.image(annotations={"a": "b"})),
)
def manifest(data: bytes) -> None:
    for content_type in (None, *sorted(MANIFEST_TYPES)):
        try:
            found = parse_manifest(data, content_type)
        except ProtocolError as error:
            _is_safe(error.detail)
            continue
        attachment_from_manifest("sha256:" + "a" * 64, None, found)


@_target(manifests.schema1(), manifests.image())
def document(data: bytes) -> None:
    for asked in (None, "sha256:" + "a" * 64):
        with suppress(ProtocolError):
            verify_manifest(
                data,
                content_type=SIGNED_SCHEMA1,
                header_digest="sha256:x",
                requested_digest=asked,
            )


@_target(
    {"architecture": "arm64", "os": "linux", "created": "2026-01-01T00:00:00Z",
     "config": {"User": "1", "Labels": {"a": "b"}, "Env": ["A=b"], "Cmd": ["x"]},
     "history": [{"created": "x", "empty_layer": True}], "rootfs": {"diff_ids": []}},
)  # fmt: skip
def image_config(data: bytes) -> None:
    with suppress(ProtocolError):
        parse_image_config(data)


_SBOM_PACKAGES = [
    sboms.Package("libssl3", "3.0.7-1", "pkg:deb/debian/libssl3@3.0.7-1?upstream=a"),
    sboms.Package("core", "1:2~rc", "pkg:npm/%40angular/core@15?epoch=1#sub", "MIT"),
]
_STATEMENT = sboms.statement(sboms.spdx(_SBOM_PACKAGES), "sha256:" + "a" * 64)


@_target(
    *(make(_SBOM_PACKAGES) for make in sboms.FORMATS.values()),
    _STATEMENT,
    sboms.envelope(_STATEMENT),
    sboms.sigstore_bundle(_STATEMENT),
)
def sbom(data: bytes) -> None:
    with suppress(ProtocolError):
        found = parse_sbom(data)
        if found is not None:
            json.dumps([asdict(one) for one in found.packages]).encode()
            assert all(one.name for one in found.packages)


@_target("pkg:deb/debian/curl@7.50.3-1?arch=i386&upstream=a%402", "pkg:npm/%40a/b#c")
def package_url(data: bytes) -> None:
    found = parse_package_url(_text(data))
    assert found is None or (found.type and found.name)


@_target(
    "deb 1:1.0~rc1-1 2.0+dfsg",
    "rpm 1:3.0^git-1 3",
    "apk 1.0_p1-r1 1.05",
    "pypi 1!1.0rc1.post2.dev3+a 1",
    "npm v1.0.0-rc.1+b 2",
    "maven 1.0-SNAPSHOT 1.0.a1",
    "gem 1.a.0.b 1.0-2",
    "generic 1.1.1k 1.1.1-a",
    "golang go1.21rc1 v0",
    "nuget 1.0 2",
)
def package_version(data: bytes) -> None:
    kind, _, rest = _text(data).partition(" ")
    first, _, second = rest.partition(" ")
    order = compare_versions(kind, first, second)
    reverse = compare_versions(kind, second, first)
    assert order is None if reverse is None else order == -reverse


@_target(
    {"token": "a.b.c", "expires_in": 300, "refresh_token": "r"},
    {"access_token": "a", "token_type": "bearer"},
)
def token_response(data: bytes) -> None:
    with suppress(ProtocolError):
        assert parse_access_token(data).isascii()
    with suppress(ProtocolError):
        found = parse_token_response(data)
        assert 60 <= found.expires_in_s <= 86_400
        assert found.token.reveal().isascii()


def _jwt(header: object, payload: object) -> str:
    parts = (base64.urlsafe_b64encode(_bytes(part)) for part in (header, payload))
    return ".".join(part.decode().rstrip("=") for part in parts) + ".c2ln"


CLAIMS = {
    "access": [{"type": "repository", "name": "a/b", "actions": ["pull"]}],
    "aud": ["x"], "exp": 1_795_399_300, "iat": 1, "iss": "i", "nbf": 1, "sub": "s",
}  # fmt: skip


@_target(
    _jwt({"alg": "ES256", "kid": "k"}, CLAIMS), "Bearer abc.def", '{"token":"a.b.c"}'
)
def token(data: bytes) -> None:
    text = _text(data)
    access_of(text, "a/b")
    reading = explain_token(text, now=NOW)
    json.dumps(asdict(reading)).encode()
    for line in explanation_lines(reading):
        _is_safe(line)


@_target(CLAIMS, {"access": None, "aud": 7}, '{"access":[{"type":"repository(p)"}]}')
def claims(data: bytes) -> None:
    token = ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"ES256"}', data, b"sig")
    )
    access_of(token, "a/b")
    explanation_lines(explain_token(token, now=NOW))


@_target({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}, "-----BEGIN ")
def token_keys(data: bytes) -> None:
    with suppress(ProtocolError):
        KeySet.from_bytes(data)


def _check_verdict(verdict: SignatureVerdict) -> None:
    is_verified = verdict.state is SignatureState.VERIFIED
    assert bool(verdict.keys) == is_verified
    assert (verdict.reason is None) == is_verified
    assert f"{verdict.reason}{verdict.identity}".isprintable()


@_target(signed_images.layer_of("cosign-p256")[0], b'{"critical":{"image":{}}}')
def cosign_payload(data: bytes) -> None:
    original, annotations = signed_images.layer_of("cosign-p256")
    verdict = verify_simple_signing(
        data,
        annotations,
        digest=signed_images.image_digest(),
        keys=signed_images.signing_keys("p256"),
    )
    _check_verdict(verdict)
    assert (verdict.state is SignatureState.VERIFIED) == (data == original)


@_target(signed_images.layer_of("bundle-p256")[0])
def sigstore_bundle(data: bytes) -> None:
    verdict = verify_bundle(
        data,
        digest=signed_images.image_digest(),
        keys=signed_images.signing_keys("p256"),
    )
    _check_verdict(verdict)


@_target(
    signed_images.layer_of("notation-p256")[0],
    signed_images.layer_of("notation-rsa")[0],
)
def notation_envelope(data: bytes) -> None:
    target = SignedTarget(
        digest=signed_images.image_digest(),
        media_type=manifests.OCI_INDEX,
        size=len(signed_images.contents()[signed_images.image_digest()]),
    )
    keys = signed_images.signing_keys("p256", "rsa")
    _check_verdict(verify_notation_jws(data, target, keys=keys, now=NOW))


@_target(
    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
)
def signing_key_file(data: bytes) -> None:
    for read in (read_public_keys, read_certificates):
        with suppress(SigningKeyError):
            read(data)
    with suppress(SigningKeyError):
        parse_subject(data.decode("utf-8", "replace"))


@_target(
    {"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "h/a": {}},
     "credHelpers": {"h": "x"}, "credsStore": "y"},
    {"auths": {"h": {"identitytoken": "t", "username": "u", "password": "p"}}},
)  # fmt: skip
def docker_config(data: bytes) -> None:
    with suppress(UsageError):
        config = parse_docker_config(data, "config.json")
        for name in ("docker.io", "h"):
            repr(list(config.candidates(name, "a")))


@_target({"Username": "u", "Secret": "s"}, {"Username": "<token>", "Secret": "t"})
def helper_response(data: bytes) -> None:
    with suppress(ProtocolError):
        repr(parse_helper_output(data))


@_target(
    "# a list\nhost.example/a:1\nb\n",
    '{"repository":"a","tags":["1","2"]}\n{"reference":"b"}\n',
    "repository,tag\na,1\n",
    "h.example.com:\n  images:\n    a: [1]\n  images-by-tag-regex:\n    b: ^1$\n",
    '{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","spec":{"containers":'
    '[{"image":"a:1"}]}}]}',
    "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: a:1\n",
    "services:\n  web:\n    image: ${REGISTRY:-h.io}/a:1\n",
    "ARG V=1\nHEREDOC\nFROM a:${V} AS b\nFROM b\nCOPY --from=c:1 x y\n",
    "# escape=`\nFROM 'a'\nRUN --mount=from=b,`\ntype=bind <<-\"E F\" `\n c\n\tE F\n",
    "kind: Template\napiVersion: v1\nobjects:\n- kind: Task\n  spec:\n    steps:\n"
    "    - image: ${A}\n      image: !reset null\nparameters:\n- {name: A, value: b}\n",
)
def list_file(data: bytes) -> None:
    try:
        found = list(read_list(ListReader(io.BytesIO(data), "list")))
    except UsageError as error:
        _is_safe(str(error))
        return
    for item in found:
        if not isinstance(item, InputSelector):
            _is_safe(item.text)
            _is_safe(item.failure.detail)


@_target(
    {"errors": [{"code": "DENIED", "message": "no", "detail": {"a": 1}}]},
    "<html><title>Bad gateway</title></html>",
    "<Error><Code>AccessDenied</Code></Error>",
)
def error_body(data: bytes) -> None:
    for content_type in (None, "application/json", "text/html"):
        _is_safe(error_sentence(data, content_type=content_type, status=403))


@_target(
    "100;w=21600", "0;w=60, 5", "Wed, 21 Oct 2026 07:28:00 GMT", "120", "bytes 0-0/7"
)
def header_fields(data: bytes) -> None:
    text = _text(data)
    parse_rate_limit(
        CIMultiDict({"RateLimit-Remaining": text, "RateLimit-Limit": text})
    )
    wait = retry_after_s(text, response_date=text, now=NOW)
    assert wait is None or 0 <= wait <= RETRY_AFTER_CAP_S
    for size in (response.content_length(text), response.complete_length(text)):
        assert size is None or 0 <= size < 2**63


@_target(
    {"tags": ["1", None], "manifest": {"sha256:" + "a" * 64: {"tag": ["1"]}}},
    {"repositories": ["a/b", 7, None], "child": ["x"]},
    {"results": [{"name": "a", "images": [{"digest": "sha256:" + "a" * 64}]}]},
    [{"name": "a/b", "tags": [{"name": "1", "push_time": "2026-01-01T00:00:00Z"}]}],
    {"tags": [{"name": "1", "manifest_digest": "x", "start_ts": 1e300}], "page": 2},
)
def list_response(data: bytes) -> None:
    answer = _response(data, Link='</x?y>; rel="next"', X_Next_Page_Start="2")
    readers: list[Callable[[Response], object]] = [_parse_tags, catalog_page]
    readers += [partial(_parse_tags, untagged=True)]
    readers += [one.parse_tags for one in PRODUCTS]
    readers += [one.parse_manifests for one in PRODUCTS]
    readers += [one.parse_repositories for one in PRODUCTS]
    for read in readers:
        with suppress(ProtocolError):
            following = getattr(read(answer), "next_url", None)
            assert following is None or isinstance(following, str | Failure)


@_target(
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 404 No\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b",
)
def http_response(data: bytes) -> None:
    for head_only in (False, True):
        for size in (len(data) or 1, 7):
            parser = ResponseParser()
            parser.begin(
                head_only=head_only, max_bytes=CAP_BYTES, max_error_bytes=CAP_BYTES
            )
            with suppress(NotHttpError, BrokenOffError):
                for start in range(0, len(data), size):
                    parser.feed(data[start : start + size])
                parser.end()
                body = parser.body()
                assert body is None or len(body) <= CAP_BYTES
                parser.headers.getall("Link", ())


@_target(
    'workers = 4\nauthfile = "x"\n[registry."h.io"]\nusername = "a"\ntries = 2\n'
    'password_env = "P"\n[registry."h.io/team"]\nusername = "b"\npassword_file = "f"\n'
    'since = "7d"\nplatforms = ["linux/amd64"]\nshard = "1/2"\nproxy = "http://p:1"\n'
)
def configuration(data: bytes) -> None:
    try:
        file = parse_toml(data, "a.toml").document
    except ConfigError as error:
        _is_safe(str(error))
        return
    documents: list[Mapping[str, object]] = [file, {"registry": {"h.io": file}}]
    for document in documents:
        try:
            settings = resolve_settings(
                file=document,
                file_name="a.toml",
                environment={"P": SECRET},
                flags={},
                read_file=lambda _: SECRET,
            )
            printed = repr(settings)
        except AuditorError as error:
            printed = str(error).replace("\n", "")
            _is_safe(printed)
        assert SECRET not in printed
    with suppress(AuditorError):
        read_policy(file, file_name="a.toml", lines={})


@_target(
    "1-pull.*", "7d", "linux/arm/v7", "1/16", "repository:a:pull", ">=1.2 <2 || 3.x"
)
def small_grammars(data: bytes) -> None:
    text = _text(data)
    parsers: tuple[Callable[[str], object], ...] = (
        time_span.parse_since,
        parse_platform,
        parse_shard,
        parse_scope,
        parse_constraint,
    )
    for parse in parsers:
        with suppress(ProtocolError, ValueError):
            parse(text)
    parse_version(text)
    time_span.parse_image_time(text)
    assert tag_order(text) <= tag_order(text)


@_target(
    "Bearer eyJhbGciOiJub25lIn0.e30.x and password=hunter2",
    "https://u:p@h/x?sig=1",
    "u:s3cret@h.io/a",
)
def masking(data: bytes) -> None:
    text = _text(data)
    once = mask_secrets(text)
    mask_secrets(once)
    shown = mask_userinfo(text)
    assert mask_userinfo(shown).count("@") <= text.count("@")
    _is_safe(safe_text(text))


REPORT_LINES = (
    b'{"schema":1,"kind":"journal","auditor":"0.1.0","settings":{},"since":"x"}\n'
    b'{"schema":1,"kind":"image","reference":"h/a:1","tag":"1","digest":null}\n'
    b'{"schema":1,"kind":"platform","reference":"h/a:2","tag":"2","digest":null}\n'
    b'{"schema":1,"kind":"failure","reference":"x","failure":"interrupted"}\n'
)


@_target(REPORT_LINES.partition(b"\n")[2], b'{"kind":[],"reference":"x"}\n')
def report_left_over(data: bytes) -> None:
    for ended in (False, True):
        for span in record_offsets(io.BytesIO(data), 0, complete=ended):
            assert 0 < span.size <= len(data)


@_target(REPORT_LINES)
def journal(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.journal")
        path.write_bytes(data)
        with suppress(AuditorError), Journal(path, output="out") as found:
            assert found.header is None or isinstance(found.header, dict)
            stream, start = found.open_records()
            with stream:
                list(record_offsets(stream, start, complete=False))


@_target(
    b'{"schema":1,"kind":"shard","auditor":"0.1.0","shard":1,"of":2,"order":"input",'
    b'"settings":{}}\n0 0 3\n1 2 1\n{"kind":"end","bytes":7,"summary":{}}\n'
)
def shard_file(data: bytes) -> None:
    with suppress(UsageError):
        ShardReport.read(io.BytesIO(data), "a")
    with suppress(UsageError):
        list(read_positions(io.BytesIO(data), "a", 0))


@_target(b"\x01x\x9c\x03\x00\x00\x00\x00\x01", b"\x00{}")
def cache_row(data: bytes) -> None:
    for key in (b"", b"k" * 32, data[:32]):
        assert decode_body(data[:1] == b"\x01", data[1:], key, None) in {None, data[1:]}
        decode_body(data[:1], None, key, data)
