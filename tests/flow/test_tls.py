"""TLS: private CAs, client certificates and certs.d."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from auditor.config import RegistrySettings, Settings
from auditor.demo.demo_registry import serve
from auditor.errors import UsageError
from auditor.registry.registries import open_registries
from auditor.registry.transport.tls import TlsFiles, tls_context, tls_files
from auditor.util.clock import SystemClock
from tests.certificates import STRICT, Authority
from tests.flow.harness import Lab, lab, service, simple
from tests.support.token_service import token_app

pytestmark = pytest.mark.anyio
NAME = "team/app:1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


async def audited(here: Lab, **settings: Any) -> str:
    """`image`, or the kind of failure."""
    (kind,) = (await here.audit(here.ref(NAME), tries=1, **settings)).kinds
    return kind


async def test_a_private_ca_is_trusted_for_the_registry_that_names_it(
    authority: Authority,
) -> None:
    async with lab(simple([NAME]), tls=authority.server("127.0.0.1")) as here:
        assert await audited(here, ca_file=str(authority.file)) == "image"
        assert await audited(here, plain_http=False) == "tls"


@asynccontextmanager
async def tls_only(registry: Lab, response: bytes) -> AsyncIterator[Lab]:
    """The registry behind a port for TLS, which sends `response` to plain HTTP.

    Like Go's net/http, it tells them apart by the first byte of a connection.
    """

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65_536)
        if not first.startswith(b"\x16"):
            writer.write(response)
            writer.close()
            return
        host, _, port = registry.host.partition(":")
        behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
        behind_writer.write(first)
        await asyncio.gather(copy(reader, behind_writer), copy(behind_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield replace(registry, host=f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.0 400 Bad Request\r\n\r\n"
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"\x15\x03\x03\x00\x02\x02\x50",
    ],
    ids=["400", "alert"],
)
async def test_plain_http_to_a_tls_port_is_reported_with_advice(
    authority: Authority, response: bytes
) -> None:
    tls = authority.server("127.0.0.1")
    async with (
        lab(simple([NAME]), tls=tls) as registry,
        tls_only(registry, response) as here,
    ):
        found = await here.audit(here.ref(NAME), plain_http=True)
        assert await audited(here, ca_file=str(authority.file)) == "image"
    assert found.failure.detail.endswith(
        "; the server expects TLS: use --no-plain-http (plain_http = false in the"
        " configuration), and --ca-file for a private CA"
    )


async def test_a_certificate_that_violates_rfc_5280_is_refused_by_strict_pythons(
    authority: Authority,
) -> None:
    tls = authority.server("127.0.0.1", names_the_key=False)
    async with lab(simple([NAME]), tls=tls) as here:
        found = await here.audit(here.ref(NAME), tries=1, ca_file=str(authority.file))
    if STRICT:
        assert found.failure.failure == "tls"
        assert (
            "Missing Authority Key Identifier; RFC 5280 requires"
            in found.failure.detail
        )
    else:
        assert found.kinds == ["image"]


async def test_a_client_certificate_is_presented(authority: Authority) -> None:
    tls = authority.server("127.0.0.1", clients=True)
    pair = authority.pair("auditor")
    both = pair.cert.with_suffix(".both")
    both.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    ca_file = str(authority.file)
    async with lab(simple([NAME]), tls=tls) as here:
        for files in (
            {"cert_file": str(pair.cert), "key_file": str(pair.key)},
            {"cert_file": str(both)},
        ):
            assert await audited(here, ca_file=ca_file, **files) == "image"
        outcome = await here.audit(here.ref(NAME), tries=1, ca_file=ca_file)
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        older = await here.audit(here.ref(NAME), tries=1, ca_file=ca_file)
    assert older.failure.failure in {"tls", "connect"}
    for failure in (outcome.failure, older.failure):
        assert "may require a client certificate, or another one" in failure.detail


@pytest.mark.parametrize("named", [False, True])
async def test_a_client_certificate_is_presented_to_the_registry_and_its_realm_hosts(
    authority: Authority, named: bool
) -> None:
    """A token service at another host sees it if `realm_hosts` has that host."""
    seen: list[bool] = []
    tokens = service()
    elsewhere = token_app(tokens)
    tls = authority.server("127.0.0.1", "localhost")
    tls.load_verify_locations(authority.file)
    tls.verify_mode = ssl.CERT_OPTIONAL
    pair = authority.pair("auditor")

    async def note(request: Any, response: Any) -> None:
        seen.append(bool(request.get_extra_info("peercert")))

    elsewhere.on_response_prepare.append(note)
    async with serve(elsewhere, tls=tls) as url:
        tokens.realm = url.replace("127.0.0.1", "localhost") + "/token"
        async with lab(simple([NAME]), tokens=tokens, tls=tls) as here:
            kind = await audited(
                here,
                ca_file=str(authority.file),
                cert_file=str(pair.cert),
                key_file=str(pair.key),
                realm_hosts=("localhost",) if named else (),
            )
    assert kind == "image"
    assert seen == [named]


# -- mistakes ----------------------------------------------------------------------


PEM = serialization.Encoding.PEM


def rsa_key(encoding: serialization.Encoding) -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def written(authority: Authority, key: bytes) -> Path:
    path = authority.file.with_name("other.key")
    path.write_bytes(key)
    return path


def _of_another(authority: Authority) -> tuple[Path, Path]:
    return authority.pair("auditor").cert, authority.pair("auditor").key


def _encrypted(authority: Authority) -> tuple[Path, Path]:
    pair = authority.pair("auditor", passphrase=b"hunter2")
    return pair.cert, pair.key


def _without_key(authority: Authority) -> tuple[Path, None]:
    return authority.pair("auditor").cert, None


def _swapped(authority: Authority) -> tuple[Path, Path]:
    pair = authority.pair("auditor")
    return pair.key, pair.cert


def _of_another_kind(authority: Authority) -> tuple[Path, Path]:
    return authority.pair("auditor").cert, written(authority, rsa_key(PEM))


def _with_damaged_key(authority: Authority) -> tuple[Path, Path]:
    pair = authority.pair("auditor")
    return pair.cert, written(authority, pair.key.read_bytes().replace(b"M", b"N"))


def _with_key_of_openssh(authority: Authority) -> tuple[Path, Path]:
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return authority.pair("auditor").cert, written(authority, key)


def _with_key_in_der(authority: Authority) -> tuple[Path, Path]:
    key = rsa_key(serialization.Encoding.DER)
    return authority.pair("auditor").cert, written(authority, key)


def _too_small(authority: Authority) -> tuple[Path, Path]:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  (that is the point)
    pair = authority.pair("auditor", key=weak)
    return pair.cert, pair.key


def _missing(authority: Authority) -> tuple[Path, Path]:
    return authority.pair("auditor").cert, Path("/nowhere/key.pem")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            _of_another,
            "the private key does not belong to the certificate in",
        ),
        (_encrypted, "the private key is encrypted"),
        (_without_key, "contains no private key in PEM; give its file with --key-file"),
        (_swapped, "auditor-.*key: contains no certificate in PEM, but PRIVATE KEY$"),
        (_of_another_kind, "the private key does not belong to the certificate in"),
        (_with_damaged_key, "contains a damaged private key"),
        (_with_key_of_openssh, "contains a private key in OpenSSH's format"),
        (_with_key_in_der, r"but DER \(openssl pkey -inform DER"),
        (_too_small, "the certificate is too weak for OpenSSL's security level"),
        (_missing, "/nowhere/key.pem: cannot be read: No such file or directory"),
    ],
)
async def test_an_unusable_client_certificate_is_reported_before_any_request(
    authority: Authority,
    files: Callable[[Authority], tuple[Path, Path | None]],
    sentence: str,
) -> None:
    cert, key = files(authority)
    changes = RegistrySettings(cert_file=str(cert), key_file=str(key) if key else None)
    settings = Settings(registries={"dtr.example.com": changes}, docker_config=False)
    with pytest.raises(UsageError, match=sentence) as caught:
        async with open_registries(settings, clock=SystemClock()):
            pass
    assert len(str(caught.value).splitlines()) == 1
    assert "ssl" not in str(caught.value).replace("openssl", "").replace("OpenSSL", "")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            None,
            "cannot be read: No such file or directory; check --ca-file (ca_file)",
        ),
        (b" \n", "is empty; it must contain a certificate in PEM"),
        (
            b"hello\n",
            "contains no certificate in PEM: no line -----BEGIN CERTIFICATE-----",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "contains a damaged certificate: export or copy it again",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nMIIB",
            "contains a damaged certificate: export or copy it again",
        ),
        (
            b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "contains no certificate in PEM, but X509 CRL",
        ),
        (
            b"\x30\x82\x01\x00\x30\x81\xb0",
            "contains no certificate in PEM, but DER (openssl x509 -inform DER -in FILE"
            " -out FILE.pem converts it)",
        ),
        (
            b"\x30\x82\x0a\x00\x02\x01\x03\x30",
            "contains no certificate in PEM, but PKCS #12 (openssl pkcs12 -in FILE"
            " -nodes -out FILE.pem converts it)",
        ),
    ],
)
async def test_an_unusable_ca_file_is_reported_before_any_request(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    changes = RegistrySettings(ca_file=str(path))
    settings = Settings(default_registry=changes, docker_config=False)
    with pytest.raises(UsageError) as caught:
        async with open_registries(settings, clock=SystemClock()):
            pass
    assert str(caught.value) == f"{path}: {sentence}"


# -- docker's and podman's folders -------------------------------------------------


def test_the_certs_d_folder_of_a_registry_is_used(
    authority: Authority, tmp_path: Path
) -> None:
    folder = tmp_path / ".config" / "containers" / "certs.d" / "dtr.example.com:8443"
    folder.mkdir(parents=True)
    pair = authority.pair("auditor")
    (folder / "ca.crt").write_bytes(authority.file.read_bytes())
    (folder / "client.cert").write_bytes(pair.cert.read_bytes())
    (folder / "client.key").write_bytes(pair.key.read_bytes())
    environment = {"HOME": str(tmp_path)}

    def files(host: str, use_certs_d: bool = True, **changes: Any) -> TlsFiles:
        return tls_files(
            host, RegistrySettings(**changes), environment, use_certs_d=use_certs_d
        )

    host = "dtr.example.com:8443"
    expected = TlsFiles(
        ca_files=(str(folder / "ca.crt"),),
        cert_file=str(folder / "client.cert"),
        key_file=str(folder / "client.key"),
    )
    assert files(host) == expected
    assert files("dtr.example.com") == TlsFiles()
    assert files(host, use_certs_d=False) == TlsFiles()
    own: dict[str, Any] = {"ca_file": str(authority.file), "cert_file": str(pair.cert)}
    assert files(host, **own, key_file=str(pair.key)) == TlsFiles(
        ca_files=(str(authority.file), str(folder / "ca.crt")),
        cert_file=str(pair.cert),
        key_file=str(pair.key),
    )
    assert tls_context(expected).get_ca_certs()


@pytest.mark.parametrize(
    ("folder_of", "plain_http", "kind"),
    [
        ("{host}", None, "image"),
        ("{host}", True, "tls"),  # as configured
        ("localhost:1", None, "tls"),  # of another registry
    ],
)
async def test_a_loopback_registry_with_a_certs_d_folder_is_asked_over_tls(
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder_of: str,
    plain_http: bool | None,
    kind: str,
) -> None:
    tls = authority.server("127.0.0.1")
    async with (
        lab(simple([NAME]), tls=tls) as registry,
        tls_only(registry, b"\x15\x03\x03\x00\x02\x02\x50") as here,
    ):
        folders = tmp_path / ".config" / "containers" / "certs.d"
        folder = folders / folder_of.format(host=here.host)
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.file.read_bytes())
        monkeypatch.setenv("HOME", str(tmp_path))
        found = await audited(here, docker_config=True, plain_http=plain_http)
    assert found == kind


@pytest.mark.parametrize("folder", [".config/containers", ".docker", ".config/docker"])
async def test_certs_d_means_tls_even_if_its_files_cannot_be_used(
    tmp_path: Path, folder: str
) -> None:
    """Never in plain text what the user protects: not even on a loopback address."""
    certs = tmp_path / folder / "certs.d" / "127.0.0.1:5001"
    certs.mkdir(parents=True)
    urls = {}
    for text in (None, "no certificate"):
        if text is not None:
            (certs / "ca.crt").write_text(text)
        async with open_registries(
            Settings(), clock=SystemClock(), environment={"HOME": str(tmp_path)}
        ) as registries:
            urls[text] = (await registries.get("127.0.0.1:5001")).base_url
    assert urls == {
        None: "http://127.0.0.1:5001",
        "no certificate": "https://127.0.0.1:5001",
    }


def test_unusable_files_in_certs_d_are_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys in certs.d are often readable by root only; the user did not name them."""
    folder = tmp_path / ".config" / "containers" / "certs.d" / "dtr.example.com"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text("no certificate")
    found = tls_files(
        "dtr.example.com", RegistrySettings(), {"HOME": str(tmp_path)}, use_certs_d=True
    )
    assert found == TlsFiles()
    (message,) = caplog.messages
    assert f"{folder}/ca.crt: contains no certificate in PEM" in message
    assert "ignoring the files of dtr.example.com in certs.d" in message
