"""`auditor demo`: everything on one machine, in seconds."""

from __future__ import annotations

import base64
import functools
import shlex
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import jsonschema
import orjson
import pytest

from auditor.demo.demo_images import ADMIN, ADMIN_PASSWORD, demo_images
from auditor.demo.image_builder import Family
from auditor.oci.descriptor import SCHEMA1, SIGNED_SCHEMA1
from auditor.report.report_schema import report_schema
from tests.flow.commands import auditor, finish, running
from tests.flow.nights import read_report

pytestmark = pytest.mark.anyio

ARTICLE = "admin/java-hello-world"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo was run."""
    place = tmp_path_factory.mktemp("demo")
    done = anyio.run(functools.partial(auditor, "demo", place=place))
    assert (done.code, done.stderr) == (0, [])
    return place


async def test_the_demo_audits_every_tag_for_two_nights(place: Path) -> None:
    folder = place / "auditor-demo" / "nights"
    first, second = sorted(
        (folder / "reports").iterdir(), key=lambda one: len(one.name)
    )
    lines = read_report(first)
    found = {f"{line['repository']}:{line['tag']}": line["digest"] for line in lines}
    assert len(found) == len(lines)
    assert found == {
        f"{placed.repository}:{tag}": placed.image.root.digest
        for placed in demo_images()
        for tag in placed.tags
    }
    assert {line["kind"] for line in lines} == {"image"}
    assert {line["media_type"] for line in lines} == {
        *(Family.OCI.index, Family.OCI.manifest),
        *(Family.DOCKER.index, Family.DOCKER.manifest),
        *(SIGNED_SCHEMA1, SCHEMA1),
    }
    jsonschema.Draft202012Validator(
        {"type": "array", "items": report_schema()}
    ).validate(lines)
    changed = {f"{line['repository']}:{line['tag']}" for line in read_report(second)}
    assert found.keys() ^ changed == {"library/busybox:1.37.0", "team/api:1.5.0"}


async def test_the_demo_shows_what_changed_and_commands_that_work(
    place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "auditor-demo", tmp_path / "mine", symlinks=True)
    done = await auditor("demo", "--folder", "mine", place=tmp_path)  # once more
    assert done.code == 0
    told = done.out.decode()
    for part in (
        "A registry with a token service runs on 127.0.0.1:",
        "1 removed, 2 moved, 1 added, 261 unchanged",
        "error platforms.required_platforms (1)",
        "error releases.immutable_tags (1)",
        "warning legacy.forbidden_media_types (2)",
        f"The page of the second night: {tmp_path}/mine/nights/latest.html",
    ):
        assert part in told
    _, _, commands = told.partition("Try next:\n")
    query, layers, serve = (line.strip() for line in commands.splitlines())
    for line in (query, layers):
        pasted = await auditor(program=("sh", "-c", line), place=tmp_path)
        assert (pasted.code, pasted.stderr) == (0, [])
        assert pasted.out
    words = shlex.split(serve, comments=True)
    assert words[-2:] == ["demo", "--serve"]
    async with running("--port", "0", program=words, place=tmp_path) as process:
        assert process.stdout is not None
        assert b"runs on 127.0.0.1:" in await process.stdout.receive()
        process.send_signal(signal.SIGINT)
        assert (await finish(process)).code == 130


async def test_the_demo_touches_no_other_files(tmp_path: Path) -> None:
    other = tmp_path / "auditor-demo" / "nights" / "mine.txt"
    other.parent.mkdir(parents=True)
    other.write_text("")
    (tmp_path / "auditor-demo" / "thesis.txt").write_text("")
    done = await auditor("demo", place=tmp_path)
    assert done.code == 2
    assert "contains other files" in done.messages[0]
    assert other.exists()


@asynccontextmanager
async def _served() -> AsyncIterator[tuple[str, str]]:
    """The host of a demo that is left running, and what it says at the start."""
    async with running("demo", "--serve", "--port", "0") as process:
        assert process.stdout is not None
        told = (await process.stdout.receive()).decode()
        yield told.split(" runs on ")[1].split()[0], told
        process.send_signal(signal.SIGINT)
        done = await finish(process)
        assert done.code == 130
        assert not any(done.stderr), done.stderr  # click ends the line with the ^C


async def test_the_articles_steps_work_as_printed() -> None:
    async with _served() as (host, told), aiohttp.ClientSession() as curl:
        # Step 2, with the very URL that the demo prints.
        shown = told.split(f'curl -u {ADMIN}:{ADMIN_PASSWORD} "')[1].split('"')[0]
        assert shown == (
            f"http://{host}/auth/v2/token/"
            f"?service={host}&scope=repository:{ARTICLE}:pull"
        )
        pair = base64.b64encode(f"{ADMIN}:{ADMIN_PASSWORD}".encode()).decode()
        basic = {"Authorization": f"Basic {pair}"}
        async with curl.get(shown, headers=basic) as answer:
            assert answer.status == 200
            token = (await answer.json())["token"]
        decoded = await auditor(
            "token", "--decode", "-", "--format=json", stdin=token.encode()
        )
        (grant,) = orjson.loads(decoded.out)["claims"]["grants"]
        assert (grant["name"], grant["actions"]) == (ARTICLE, ["pull"])
        # Step 3.
        async with curl.get(
            f"http://{host}/v2/{ARTICLE}/manifests/latest",
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            assert answer.status == 200
            manifest = orjson.loads(await answer.read())
    assert manifest["name"] == ARTICLE
    assert manifest["schemaVersion"] == 1
    assert manifest["signatures"][0]["header"]["jwk"]["crv"] == "P-256"


async def test_the_article_is_one_command(tmp_path: Path) -> None:
    async with _served() as (host, _):
        config = tmp_path / "dtr.toml"
        config.write_text(
            f'[registry."{host}"]\nusername = "{ADMIN}"\npassword_env = "SECRET"\n'
            f'token_url = "http://{host}/auth/v2/token/"\nservice = "demo"\n'
        )
        done = await auditor(
            *("audit", "-c", str(config), f"{host}/{ARTICLE}:latest"),
            environment={"SECRET": ADMIN_PASSWORD},
        )
    assert done.code == 0
    (line,) = done.lines
    assert (line["schema_version"], line["media_type"]) == (1, SIGNED_SCHEMA1)
    assert line["architectures"] == ["linux/amd64"]
    assert line["access"]["state"] == "granted"
    assert line["access"]["subject"] == ADMIN
    assert line["warnings"] == []


async def test_anonymous_requests_may_pull_only_the_library() -> None:
    async with _served() as (host, _):
        granted = await auditor("token", f"{host}/library/alpine")
        denied = await auditor("token", f"{host}/{ARTICLE}")
        tree = await auditor("inspect", f"{host}/library/alpine:latest")
        audited = await auditor(
            "audit", f"{host}/library/alpine:latest", f"{host}/{ARTICLE}:latest"
        )
    assert (granted.code, denied.code, tree.code, audited.code) == (0, 1, 0, 1)
    assert [line.get("failure") for line in audited.lines] == [None, "no_pull_grant"]
