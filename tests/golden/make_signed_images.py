"""Makes `signed-images.json`: images that cosign and notation have signed.

    python -m tests.golden.make_signed_images COSIGN NOTATION

The arguments are the programs; cosign v2.6.1 and notation v1.3.2 made the file here.
crane and its registry are those of `tests.real.go_programs`. The keys are thrown away;
the certificates are valid for a century.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.manifests import OCI_INDEX, OCI_MANIFEST
from tests.real.go_programs import CRANE, CRANE_REGISTRY

FILE = Path(__file__).parent / "signed-images.json"
PORT = 15998
HOST = f"127.0.0.1:{PORT}"
START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
KEYS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 3072),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
SIGN = ["sign", "--tlog-upload=false", "--allow-http-registry", "--yes"]


def run(*words: object, **more: Any) -> str:
    done = subprocess.run(
        list(map(str, words)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")
    return str(done.stdout).strip()


@contextmanager
def registry() -> Iterator[None]:
    process = subprocess.Popen(
        [str(CRANE_REGISTRY.path()), "-port", str(PORT)],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                get("")
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        process.terminate()


def get(path: str, accept: str = "*/*") -> tuple[bytes, str]:
    request = urllib.request.Request(f"http://{HOST}/v2/{path}")
    request.add_header("Accept", accept)
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return response.read(), response.headers.get("Content-Type", "")


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def public(key: Any) -> str:
    public_key = key.public_key()
    data = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(data, "ascii")


def certificate(
    key: Any, name: str, issuer: Any, issuer_name: str, *, ca: bool
) -> x509.Certificate:
    def subject(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
                x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "WA"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    usage = dict.fromkeys(
        (
            "content_commitment", "key_encipherment", "data_encipherment",
            "key_agreement", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(issuer_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage
            ),
            critical=True,
        )
    )
    if not ca:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
        )
    return builder.sign(issuer, hashes.SHA256())


def add_notation_key(config: Path, name: str, kind: str) -> str:
    """Add a key with a chain of three to notation; returns the root as PEM."""
    root, middle, leaf = KEYS["p256"](), KEYS["p256"](), KEYS[kind]()
    chain = [
        certificate(leaf, f"signer {name}", middle, "intermediate", ca=False),
        certificate(middle, "intermediate", root, f"root {name}", ca=True),
        certificate(root, f"root {name}", root, f"root {name}", ca=True),
    ]
    texts = [one.public_bytes(Encoding.PEM).decode() for one in chain]
    folder = config / "localkeys"
    folder.mkdir(parents=True, exist_ok=True)
    key_file, cert_file = folder / f"{name}.key", folder / f"{name}.crt"
    key_file.write_bytes(pem(leaf))
    cert_file.write_text("".join(texts))
    file = config / "signingkeys.json"
    keys = json.loads(file.read_text()) if file.exists() else {"keys": []}
    keys["keys"].append(
        {"name": name, "keyPath": str(key_file), "certPath": str(cert_file)}
    )
    file.write_text(json.dumps(keys))
    return texts[-1]


def push_images(folder: Path) -> str:
    """An index of two platforms, in the repository `base`; returns its digest."""
    (folder / "f").write_text("content")
    with tarfile.open(folder / "layer.tar", "w") as archive:
        archive.add(folder / "f", "f")
    crane = [str(CRANE.path()), "--insecure"]
    add = []
    for architecture in ("amd64", "arm64"):
        name = f"{HOST}/base:{architecture}"
        run(
            *crane, "append", "--oci-empty-base", "-f", folder / "layer.tar", "-t", name
        )
        platform = f"linux/{architecture}"
        run(*crane, "mutate", "--set-platform", platform, "-t", name, name)
        add += ["-m", name]
    run(*crane, "index", "append", *add, "-t", f"{HOST}/base:1")
    return run(*crane, "digest", f"{HOST}/base:1")


def sign_all(folder: Path, cosign: str, notation: str) -> dict[str, Any]:
    crane = [str(CRANE.path()), "--insecure"]
    environment = {
        **os.environ,
        "COSIGN_PASSWORD": "",
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    digest = push_images(folder)
    keys: dict[str, str] = {}
    for name, make in KEYS.items():
        key = make()
        keys[name] = public(key)
        (folder / f"{name}.pem").write_bytes(pem(key))
        run(
            cosign, "import-key-pair", "--yes", "--key", folder / f"{name}.pem",
            "--output-key-prefix", name, cwd=folder, env=environment,
        )  # fmt: skip

    def place(case: str) -> str:
        run(*crane, "copy", f"{HOST}/base:1", f"{HOST}/{case}:1")
        return f"{HOST}/{case}@{digest}"

    for name in KEYS:
        key_file = folder / f"{name}.key"
        run(cosign, *SIGN, "--key", key_file, place(f"cosign-{name}"), env=environment)
    both = place("cosign-two")
    for name in ("p256", "rsa"):
        run(cosign, *SIGN, "--key", folder / f"{name}.key", both, env=environment)
    run(
        cosign, *SIGN, "--key", folder / "p256.key", "--registry-referrers-mode",
        "oci-1-1", place("cosign-referrer"),
        env=environment | {"COSIGN_EXPERIMENTAL": "1"},
    )  # fmt: skip
    for name in ("p256", "rsa", "ed25519"):
        run(
            cosign, *SIGN, "--new-bundle-format", "--key", folder / f"{name}.key",
            place(f"bundle-{name}"), env=environment,
        )  # fmt: skip
    config = folder / "config" / "notation"
    roots = {}
    for name in ("p256", "p384", "p521", "rsa"):
        roots[name] = add_notation_key(config, name, name)
        run(
            notation, "sign", "--insecure-registry", "--key", name,
            place(f"notation-{name}"), env=environment,
        )  # fmt: skip
    run(
        notation, "sign", "--insecure-registry", "--key", "p256", "--expiry", "24h",
        place("notation-expiry"), env=environment,
    )  # fmt: skip
    run(
        notation, "sign", "--insecure-registry", "--key", "p256",
        "--signature-format", "cose", place("notation-cose"), env=environment,
    )  # fmt: skip
    return {"digest": digest, "public_keys": keys, "roots": roots}


def dumped() -> dict[str, Any]:
    """Everything that the registry has, but the repository `base`.

    It has no referrers API: what refers to an image is in the list of the fallback tag.
    """
    contents: dict[str, str] = {}
    types: dict[str, str] = {}
    repositories = {}
    for name in json.loads(get("_catalog")[0])["repositories"]:
        if name == "base":
            continue
        tags, subjects = {}, {}
        found = []
        for tag in json.loads(get(f"{name}/tags/list")[0])["tags"]:
            raw = get(f"{name}/manifests/{tag}", f"{OCI_INDEX}, {OCI_MANIFEST}")[0]
            tags[tag] = "sha256:" + hashes_of(raw)
            found.append(tags[tag])
        manifests = []
        for one in found:
            raw, kind = get(f"{name}/manifests/{one}", f"{OCI_INDEX}, {OCI_MANIFEST}")
            contents[one], types[one] = base64.b64encode(raw).decode(), kind
            manifests.append(one)
            document = json.loads(raw)
            if "subject" in document:
                subjects[one] = document["subject"]["digest"]
            found += [each["digest"] for each in document.get("manifests", ())]
            for blob in (document.get("config"), *document.get("layers", ())):
                if blob is not None and blob["size"] < 64 * 1024:
                    raw = get(f"{name}/blobs/{blob['digest']}")[0]
                    contents[blob["digest"]] = base64.b64encode(raw).decode()
        repositories[name] = {
            "tags": tags,
            "manifests": manifests,
            "subjects": subjects,
        }
    return {"contents": contents, "types": types, "repositories": repositories}


def hashes_of(raw: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(raw)
    return digest.finalize().hex()


def main() -> None:
    cosign, notation = sys.argv[1:]
    with registry(), tempfile.TemporaryDirectory() as folder:
        made = sign_all(Path(folder), cosign, notation)
        made |= dumped()
    made["made_by"] = ["cosign v2.6.1", "notation v1.3.2"]
    FILE.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
