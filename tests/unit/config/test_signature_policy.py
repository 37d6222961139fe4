"""Signature policies: who may sign what, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.config.signature_policy import MAX_KEYS, load_signature_policy
from auditor.errors import ConfigError
from tests.jose import certificate, key_for, pem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "release.pub").write_bytes(pem(key_for("ES256")))
    (tmp_path / "old.pub").write_bytes(pem(key_for("EdDSA")))
    store = tmp_path / "store"
    store.mkdir()
    root = certificate(key_for("ES256"), "root", ca=True)
    (store / "a.crt").write_bytes(root.public_bytes(Encoding.PEM))
    (store / "b.cer").write_bytes(root.public_bytes(Encoding.DER))
    (store / "README").write_text("not a certificate")
    (store / "sub.pem").mkdir()
    (tmp_path / "empty").mkdir()
    return tmp_path


def load(folder: Path, text: str) -> object:
    path = folder / "policy.toml"
    path.write_text(text)
    return load_signature_policy(str(path))


def test_every_key_is_for_every_image_without_sections(folder: Path) -> None:
    (folder / "policy.toml").write_text(
        '[keys.release]\ncosign = ["release.pub", "old.pub"]\n'
        '[keys.acme]\nnotation = "store"\nsubjects = ["C=US, O=Acme"]\n'
    )
    policy = load_signature_policy(str(folder / "policy.toml"))
    keys = policy.keys_for("r.example.com", "team/app")
    assert [key.name for key in keys] == ["release", "acme"]
    assert [len(key.public_keys) for key in keys] == [2, 0]
    assert [len(key.certificates) for key in keys] == [0, 2]
    assert len(keys[1].subjects) == 1


@pytest.mark.parametrize(
    ("repository", "names"),
    [
        ("prod/app", ["a"]),
        ("prod/tests/app", []),
        ("prod/both", ["a", "b"]),
        ("base/debian", ["b"]),
        ("team/app", []),
    ],
)
def test_sections_say_who_may_sign_what(
    folder: Path, repository: str, names: list[str]
) -> None:
    (folder / "policy.toml").write_text(
        '[keys.a]\ncosign = "release.pub"\n[keys.b]\ncosign = "old.pub"\n'
        '[images.prod]\nrepositories = ["r.example.com/prod/*"]\n'
        'except = ["prod/tests/*"]\nkeys = ["a"]\n'
        '[images.base]\nrepositories = ["base/*", "prod/both"]\nkeys = ["b"]\n'
    )
    policy = load_signature_policy(str(folder / "policy.toml"))
    found = policy.keys_for("r.example.com", repository)
    assert [key.name for key in found] == names


def test_the_fingerprint_is_of_the_policy_and_its_keys(folder: Path) -> None:
    text = '[keys.a]\ncosign = "release.pub"\n'
    path = folder / "policy.toml"

    def fingerprint(text: str) -> str:
        path.write_text(text)
        return load_signature_policy(str(path)).fingerprint

    first = fingerprint(text)
    assert fingerprint(text) == first
    assert fingerprint(text + "# more") != first
    (folder / "release.pub").write_bytes(pem(key_for("ES384")))
    assert fingerprint(text) != first


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", [": keys: there is no key; add [keys.NAME] with cosign = "]),
        (
            "[key.a]\n",
            [":1: key: unknown section; did you mean keys?", ": keys: there"],
        ),
        ("keys = 1\n", [":1: keys: must be sections: [keys.NAME]", ": keys: there is"]),
        ("[keys.a]\n", [":1: keys.a: needs cosign ="]),
        ("[keys.a]\ncosign = []\n", [":1: keys.a: needs cosign ="]),
        ("[keys.a]\ncosign = 7\n", [":2: keys.a.cosign: must be", "needs cosign"]),
        (
            '[keys.a]\ncosign = "gone.pub"\n',
            [":2: keys.a.cosign: {}/gone.pub: cannot be read: No such file"],
        ),
        (
            '[keys.a]\ncosign = "store/a.crt"\n',
            [":2: keys.a.cosign: {}/store/a.crt: it contains a CERTIFICATE"],
        ),
        (
            '[keys.a]\nnotation = "empty"\n',
            [":2: keys.a.notation: {}/empty: cannot be read: the folder has no"],
        ),
        (
            '[keys.a]\ncosign = "release.pub"\nsubjects = ["C=US"]\n',
            [":3: keys.a.subjects: is for notation"],
        ),
        (
            '[keys.a]\nnotation = "store"\nsubjects = ["US"]\n',
            [":3: keys.a.subjects: expected attributes as in"],
        ),
        (
            '[keys."a b"]\ncosign = "release.pub"\n',
            [':1: keys."a b": must be a name', "there is no key"],
        ),
        (
            '[keys.a]\ncosign = "release.pub"\n[images.b]\nkeys = ["b"]\n'
            'repositories = ["a["]\nexcept = "x"\nonly = 1\n',
            [
                ":5: images.b.repositories: must be a list",
                ":6: images.b.except: must be a list",
                ":7: images.b.only: unknown key",
                ":4: images.b.keys: b: unknown key",
            ],
        ),
    ],
)
def test_every_mistake_has_its_line(
    folder: Path, text: str, mistakes: list[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(folder, text)
    assert len(raised.value.mistakes) == len(mistakes), raised.value.mistakes
    for found, expected in zip(raised.value.mistakes, mistakes, strict=True):
        assert expected.format(folder) in found
        assert found.startswith(str(folder / "policy.toml"))


def test_the_number_of_keys_is_bounded(folder: Path) -> None:
    text = "".join(
        f'[keys.k{number}]\ncosign = "release.pub"\n' for number in range(MAX_KEYS + 1)
    )
    with pytest.raises(ConfigError, match="more than 64 keys"):
        load(folder, text)
