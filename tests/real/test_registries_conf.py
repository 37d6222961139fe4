"""registries.conf asks the registries that skopeo asks, in the same order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from auditor.model import ImageRecord
from tests.flow.harness import MANIFESTS, Lab, lab, simple
from tests.patience import HANG_S
from tests.real.programs import required

pytestmark = [pytest.mark.real, pytest.mark.anyio]

# Registry A has the image, and B has others of the same name and below hub/.
AT_A = ["team/app:1"]
AT_B = ["team/app:1", "hub/team/app:1", "hub/team/other:1"]
# Nothing listens there: ports below 1024 are not given to clients.
DOWN = "127.0.0.1:9"

MIRROR = """
[[registry]]
prefix = "r.example.com"
location = "{a}"
insecure = true
%s
[[registry.mirror]]
location = "{b}/%s"
insecure = true
%s
"""
MOVED = """
[[registry]]
prefix = "r.example.com%s"
location = "%s"
insecure = true
"""
LONGEST = (
    MOVED % ("", "{b}/hub")
    + MOVED % ("/team", DOWN)
    + MOVED % ("/team/app", "{a}/team/app")
)
BLOCKED = """
[[registry]]
prefix = "%s"
location = "%s"
blocked = true
insecure = true
"""
TAG = "r.example.com/team/app:1"
DIGEST = "r.example.com/team/app@{digest}"

CASES = {
    "a mirror that has the image": (MIRROR % ("", "hub", ""), TAG),
    "a mirror without the image": (MIRROR % ("", "none", ""), TAG),
    "mirror-by-digest-only and a tag": (
        MIRROR % ("mirror-by-digest-only = true", "hub", ""),
        TAG,
    ),
    "mirror-by-digest-only and a digest": (
        MIRROR % ("mirror-by-digest-only = true", "hub", ""),
        DIGEST,
    ),
    "digest-only and a tag": (
        MIRROR % ("", "hub", 'pull-from-mirror = "digest-only"'),
        TAG,
    ),
    "tag-only and a tag": (MIRROR % ("", "hub", 'pull-from-mirror = "tag-only"'), TAG),
    "tag-only and a digest": (
        MIRROR % ("", "hub", 'pull-from-mirror = "tag-only"'),
        DIGEST,
    ),
    "a mirror that is down": (
        MIRROR % ("", "hub", "") + f'[[registry.mirror]]\nlocation = "{DOWN}"\n',
        "r.example.com/team/missing:1",
    ),
    "a location": (MOVED % ("", "{b}/hub"), TAG),
    "the longest prefix": (LONGEST, TAG),
    "a prefix that is no whole part": (
        MOVED % ("/team/ap", DOWN) + MOVED % ("", "{a}"),
        TAG,
    ),
    "a prefix of a repository": (MOVED % ("/team/app", "{b}/hub/team/other"), TAG),
    "a wildcard": (
        MOVED.replace("r.example.com", "*.example.com") % ("", "{a}"),
        TAG,
    ),
    "a wildcard is not the domain itself": (
        MOVED.replace("r.example.com", "*.r.example.com") % ("", "{b}")
        + MOVED % ("", "{a}"),
        TAG,
    ),
    "a deeper wildcard": (
        MOVED.replace("r.example.com", "*.example.com") % ("", "{b}"),
        "x.y.example.com/team/app:1",
    ),
    "a prefix without a port": (BLOCKED % ("127.0.0.1", "127.0.0.1"), "{a}/team/app:1"),
    "a blocked name": (BLOCKED % ("{a}", "{a}"), "{a}/team/app:1"),
    "a blocked wildcard": (
        '[[registry]]\nprefix = "*.example.com"\nblocked = true\n',
        TAG,
    ),
    "a blocked name with a mirror": (
        BLOCKED % ("{a}", "{a}")
        + '[[registry.mirror]]\nlocation = "{b}"\ninsecure = true\n',
        "{a}/team/app:1",
    ),
    "a mirror in a blocked registry": (
        MIRROR % ("", "hub", "") + BLOCKED % ("{b}/hub", "{b}/hub"),
        TAG,
    ),
    "the name itself is not looked up again": (
        MOVED % ("", "{a}") + MOVED.replace("r.example.com", "{a}") % ("", DOWN),
        TAG,
    ),
}


def skopeo(program: str, conf: Path, reference: str) -> bytes | None:
    """The manifest that skopeo gets, None if it fails."""
    done = subprocess.run(
        [
            *(program, "--insecure-policy", f"--registries-conf={conf}"),
            *("inspect", "--raw", f"docker://{reference}"),
        ],
        env={"HOME": str(conf.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=HANG_S,
    )
    return done.stdout if done.returncode == 0 else None


def asked(place: Lab) -> list[str]:
    """The manifests that a registry was asked for, each once."""
    targets = dict.fromkeys(place.targets(MANIFESTS))
    place.faults.log.clear()
    return list(targets)


@pytest.mark.parametrize("case", CASES)
async def test_registries_are_asked_as_skopeo_asks_them(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = required("skopeo")
    conf = tmp_path / "registries.conf"
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
    monkeypatch.setenv("HOME", str(tmp_path))
    async with lab(simple(AT_A)) as a, lab(simple(AT_B)) as b:
        root = simple(AT_A).repositories["team/app"].tags["1"]
        names = {"a": a.host, "b": b.host, "digest": root}
        text, reference = (part.format(**names) for part in CASES[case])
        conf.write_text(text)
        expected = await anyio.to_thread.run_sync(skopeo, program, conf, reference)
        by_skopeo = asked(a), asked(b)
        outcome = await a.audit(reference, registries_conf=True, tries=1)
        by_auditor = asked(a), asked(b)
    (record,) = outcome.records
    assert by_auditor == by_skopeo
    assert isinstance(record, ImageRecord) == (expected is not None), record
    assert record.reference == reference
