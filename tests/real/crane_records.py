"""What a record must say of an image, made from the output of crane and regctl."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.manifests import DOCKER_CONFIG, OCI_INDEX, OCI_MANIFEST
from tests.patience import HANG_S
from tests.real.corpus_entry import Entry
from tests.real.go_programs import CRANE, REGCTL
from tests.real.layouts import CONFIG, sha256
from tests.real.other_registries import Running
from tests.real.programs import built

# They take some 20 ms each; a loaded machine may be much slower.
_CONFIGS = {CONFIG, DOCKER_CONFIG}
Described = Mapping[str, Any]


class Reader:
    """crane and regctl, as an account of a registry. `place` is their home.

    What was read by digest is kept in `known`, which several readers can share.
    """

    def __init__(self, running: Running, place: Path, known: dict[str, bytes]) -> None:
        self._host = running.host
        self._known = known
        self._environment = {"HOME": str(place), "DOCKER_CONFIG": str(place)}
        account = running.account
        if account is not None:
            pair = f"{account.name}:{account.password}".encode()
            login = {"auth": base64.b64encode(pair).decode()}
            auths = {"auths": {self._host: login}}
            (place / "config.json").write_text(json.dumps(auths))

    def crane(self, command: str, name: str = "") -> bytes:
        """`crane COMMAND HOST/NAME`, or of the whole registry."""
        target = f"{self._host}/{name}" if name else self._host
        return self._run(built(CRANE), command, "--insecure", target)

    def words(self, command: str, name: str = "") -> list[str]:
        """The lines that crane prints."""
        return self.crane(command, name).decode().split()

    def manifest(self, repository: str, digest: str) -> bytes:
        if digest not in self._known:
            raw = self.crane("manifest", f"{repository}@{digest}").removesuffix(b"\n")
            assert sha256(raw) == digest
            self._known[digest] = raw
        return self._known[digest]

    def config(self, repository: str, manifest: str) -> dict[str, Any]:
        """The config of a manifest."""
        key = f"config {manifest}"
        if key not in self._known:
            self._known[key] = self.crane("config", f"{repository}@{manifest}")
        found: dict[str, Any] = json.loads(self._known[key])
        return found

    def attached(self, name: str) -> set[tuple[str, str]]:
        """Digest and artifact type of what regctl lists as referrers."""
        answer = self._run(
            built(REGCTL),
            *("artifact", "list", f"{self._host}/{name}", "--format", "{{json .}}"),
            *("--host", f"reg={self._host},tls=disabled"),
        )
        listed = json.loads(answer).get("descriptors") or []
        return {(one["digest"], one.get("artifactType", "")) for one in listed}

    def _run(self, *command: str) -> bytes:
        done = subprocess.run(
            command,
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=HANG_S,
        )
        assert done.returncode == 0, f"{command[1:]}: {done.stderr.decode()}"
        return done.stdout


def expected_record(reader: Reader, host: str, entry: Entry) -> dict[str, Any]:
    """The fields that follow from manifests and configs, every config read."""
    digest = reader.words("digest", entry.name)[0]
    document = json.loads(reader.manifest(entry.repository, digest))
    platforms = list(_platforms(reader, entry, digest, None))
    layers = [one for each in platforms for one in each["layers"] or ()]
    sparse = any(each["layers"] is None for each in platforms)
    size = {} if not platforms else {"size": None if sparse else _size(layers)}
    return {
        **size,  # nothing is nothing, or unknown: not crane's to say
        "schema": 1,
        "kind": "image",
        "content": entry.content,
        "reference": f"{host}/{entry.name}",
        "registry": host,
        "repository": entry.repository,
        "tag": entry.tags[0],
        "digest": digest,
        "media_type": _media_type(document),
        "schema_version": 2,
        "artifact_type": entry.artifact_type,
        "architectures": sorted(
            {
                _text(each)
                for each in platforms
                if each["os"] and each["layers"] is not None
            }
        ),
        "platforms": platforms,
        "platforms_left_out": 0,
        "annotations": document.get("annotations", {}),
        "manifest_size": len(reader.manifest(entry.repository, digest)),
        "subject": document.get("subject", {}).get("digest"),
    }


def _platforms(
    reader: Reader, entry: Entry, digest: str, described: Described | None
) -> Iterator[dict[str, Any]]:
    seen = set()
    for each in _walk(reader, entry, digest, described):
        key = each["digest"], each["os"], each["architecture"], each["variant"]
        if key not in seen:  # one platform in two places counts once
            seen.add(key)
            yield each


def _walk(
    reader: Reader, entry: Entry, digest: str, described: Described | None
) -> Iterator[dict[str, Any]]:
    document = json.loads(reader.manifest(entry.repository, digest))
    if "manifests" not in document:
        yield _platform(reader, entry, digest, document, described)
        return
    for child in document["manifests"] or []:
        if child["digest"] in entry.left_out | entry.alternatives:
            continue
        if child["digest"] == entry.deleted:
            yield _missing(child)
            continue
        yield from _walk(reader, entry, child["digest"], child.get("platform"))


def _platform(
    reader: Reader,
    entry: Entry,
    digest: str,
    document: dict[str, Any],
    described: Described | None,
) -> dict[str, Any]:
    layers = [
        {key: layer[key] for key in ("digest", "size")}
        | {"media_type": layer["mediaType"]}
        for layer in document["layers"]
    ]
    config: dict[str, Any] = {}
    details = created = None
    if document["config"]["mediaType"] in _CONFIGS:
        config = reader.config(entry.repository, digest)
        created = config.get("created")
        details = {
            "user": config.get("config", {}).get("User") or None,
            "history": len(config.get("history") or []),
            "labels": None,
        }
    labels = config.get("config", {}).get("Labels") or {}
    base = labels.get("org.opencontainers.image.base.name")
    platform = described or config
    return {
        **_platform_keys(platform),
        "digest": digest,
        "media_type": _media_type(document),
        "config_digest": document["config"]["digest"],
        "created": created,
        "config": details,
        "base": base and {"name": base, "digest": None},
        "size": _size(layers),
        "layers": layers,
        "manifest_size": len(reader.manifest(entry.repository, digest)),
        "config_size": document["config"]["size"],
    }


def _missing(child: Described) -> dict[str, Any]:
    """A child that the index lists and the registry does not have."""
    unread = (
        *("config_digest", "created", "config", "base", "size", "layers"),
        *("manifest_size", "config_size"),
    )
    return {
        **_platform_keys(child["platform"]),
        "digest": child["digest"],
        "media_type": child["mediaType"],
        **dict.fromkeys(unread),
    }


def _platform_keys(platform: Described) -> dict[str, str | None]:
    return {
        "os": platform.get("os"),
        "architecture": platform.get("architecture"),
        "variant": platform.get("variant"),
        "os_version": platform.get("os.version"),
    }


def _media_type(document: Described) -> str:
    """`mediaType` is optional; then it is OCI's (image-spec manifest.md)."""
    implied = OCI_INDEX if "manifests" in document else OCI_MANIFEST
    media_type: str = document.get("mediaType", implied)
    return media_type


def _text(platform: Described) -> str:
    parts = (platform["os"], platform["architecture"], platform["variant"])
    # An audit reports arm64/v8 as arm64.
    return "/".join(filter(None, parts)).replace("/arm64/v8", "/arm64")


def _size(layers: list[dict[str, Any]]) -> int:
    return sum({layer["digest"]: layer["size"] for layer in layers}.values())
