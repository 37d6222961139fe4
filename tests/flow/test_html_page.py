"""`auditor html`: the page in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from auditor.cli.main import run
from auditor.errors import FailureKind
from auditor.model import Record, Source, Warn, WarningCode
from tests.flow.browser import chromium, new_window, opened, opened_in
from tests.manifests import digest
from tests.records import failure, image, layer, platform
from tests.reports import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

HOST = "r.example.com"
ARMED = "<img src=x onerror=alert(1)>"
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    ARMED,
    "\"'><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[31mred\x07\x00\r\n\u2028\u202egnp.exe",
    "javascript:alert(1)",
)
POLICY = """
[rules.all]
required_platforms = ["linux/arm64"]
"""


def app(name: str, tag: str, digit: str = "e", **more: Any) -> Record:
    reference = f"{HOST}/{name}:{tag}"
    return image(
        reference=reference, repository=name, tag=tag, digest=digest(digit), **more
    )


SOURCES = (
    Source(
        list="pods.json",
        place="pods.json:shop/web-1/main",
        namespace="shop",
        workload="Deployment/web",
        container="main",
    ),
    Source(list="owners.csv", place="owners.csv:7"),
)


def images() -> list[Record]:
    arm = platform(
        "b", architecture="arm64", variant="v8", created="2026-10-30T10:00:00Z",
        size=5000, layers=(layer("1", 100), layer("4", 4900)),
    )  # fmt: skip
    both = {
        "platforms": (platform(), arm),
        "architectures": ("linux/amd64", "linux/arm64"),
        "size": 5200,
    }
    many = [app("team/web", f"1.{minor}") for minor in range(150)]
    return [
        app("team/app", "big", "5", signed=True, has_sbom=False, **both,
            sources=SOURCES, sources_left_out=1234,
            input_labels={"team": ("ops", "payments")}),
        app("team/app", "small", "6", size=7),
        app("team/db", "1", "7", signed=False, has_sbom=False, warnings=(
            Warn(code=WarningCode.CHILD_MISSING, detail="one is missing"),
        )),
        *many,
    ]  # fmt: skip


def reports(folder: Path) -> tuple[str, str]:
    """An old and a new report of the same references."""
    old = images()
    new = [
        replace(record, digest=digest("8")) if number == 0 else record
        for number, record in enumerate(old)
        if number != 1
    ]
    new += [
        app("team/new", "1", "9"),
        failure(),
        failure(
            reference=f"{HOST}/team/web:2",
            repository="team/web",
            tag="2",
            failure=FailureKind.TIMEOUT,
            detail="no answer",
        ),
    ]
    return (
        write_report(folder / "old.jsonl", old),
        write_report(folder / "new.jsonl", new),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("html")
    old, new = reports(folder)
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    page = folder / "page.html"
    arguments = [new, "--previous", old, "--policy", str(policy), "-o", str(page)]
    assert run(["html", *arguments]) == 0
    return page


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    with new_window(browser, reduced_motion="reduce") as window:
        yield window.new_page()


@pytest.fixture
def page(tab: Page, file: Path) -> Iterator[Page]:
    with opened_in(tab, file) as opening:
        yield opening


def table(page: Page, name: str) -> Locator:
    return page.locator(f"table[data-table={name}]")


def first_column(page: Page, name: str) -> list[str]:
    return table(page, name).locator("tbody tr th").all_inner_texts()


def expect_references(page: Page, references: list[str]) -> None:
    """Wait until the table shows exactly these references."""
    from playwright.sync_api import expect  # noqa: PLC0415  (skipped without it)

    expect(table(page, "references").locator("tbody tr th")).to_have_text(references)


def sort(page: Page, name: str, column: str) -> str | None:
    head = table(page, name).get_by_role("columnheader", name=column)
    head.get_by_role("button").click()
    return head.get_attribute("aria-sort")


def search(page: Page, what: str, words: str) -> str:
    tools = page.get_by_role("search", name=what, exact=True)
    tools.get_by_role("searchbox").fill(words)
    return tools.locator("output").inner_text()


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_heading_gives_the_result(page: Page) -> None:
    title = page.get_by_role("heading", level=1).inner_text()
    assert title == "2 of 155 references could not be audited"
    assert page.title().startswith(title)
    findings = page.locator(".findings li").all_inner_texts()
    assert findings == [
        "152 violations of the policy",
        "1 image removed",
        "1 reference with warnings of the audit",
        "1 tag moved to another digest",
        "1 other change since 2026-11-24",
    ]


def test_an_image_opens_to_its_layers(page: Page) -> None:
    search(page, "references", "repo:team/app")
    row = table(page, "references").locator("tbody tr").filter(has_text="big")
    opener = row.get_by_role("button", name="team/app:big")
    opener.click()
    text = table(page, "references").locator("tr.opened").inner_text()
    assert "linux/arm64" in text
    assert digest("4") in text
    assert "4.9 kB" in text
    opener.click()
    assert table(page, "references").locator("tr.opened").count() == 0


def test_an_image_opens_to_who_uses_it(page: Page) -> None:
    search(page, "references", "payments")
    (name,) = first_column(page, "references")
    table(page, "references").get_by_role("button", name=name).click()
    assert table(page, "references").locator(".uses li").all_inner_texts() == [
        "shop/Deployment/web, main (pods.json:shop/web-1/main)",
        "owners.csv:7",
        "and 1,234 more",
        "team: ops, payments",
    ]


def test_an_age_leads_to_its_images(page: Page) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415  (skipped without it)

    link = page.locator("#ages tbody a").first
    count = link.inner_text()
    link.click()
    shown = page.get_by_role("search", name="references").locator("output")
    expect(shown).to_have_text(f"{count} of 155 references")


def test_a_failure_is_listed_once_and_its_cause_filters(page: Page) -> None:
    assert page.locator("#failures table").count() == 1
    page.get_by_role("button", name="timeout").click()
    assert first_column(page, "failures") == [f"{HOST}/team/web:2"]


def test_a_click_sorts_the_table_of_references(page: Page) -> None:
    assert sort(page, "references", "Size") == "descending"
    assert first_column(page, "references")[0] == "team/app:big"
    assert sort(page, "references", "Size") == "ascending"
    # Names are sorted as people count.
    assert sort(page, "references", "Reference") == "ascending"
    shown = first_column(page, "references")
    assert shown.index("team/web:1.9") < shown.index("team/web:1.10")


def test_a_click_sorts_a_table_in_the_html(page: Page) -> None:
    assert first_column(page, "sizes")[0] == "team/app"
    assert sort(page, "sizes", "Images") == "descending"
    assert first_column(page, "sizes")[0] == "team/web"
    assert sort(page, "sizes", "Images") == "ascending"
    assert first_column(page, "sizes")[-1] == "team/web"


SEARCHES = [
    ("BIG", "1 of 155 references", "team/app:big"),
    ("team/web 1.149", "1 of 155 references", "team/web:1.149"),
    (digest("9"), "1 of 155 references", "team/new:1"),
    ("platform:linux/arm64", "1 of 155 references", "team/app:big"),
    ("repo:team/app", "1 of 155 references", "team/app:big"),
    ("is:failed", "2 of 155 references", "team/gone:1"),
    ("is:warned", "1 of 155 references", "team/db:1"),
    ("is:signed", "1 of 155 references", "team/app:big"),
    ("is:unsigned", "1 of 155 references", "team/db:1"),
    ("is:no-sbom repo:team/db", "1 of 155 references", "team/db:1"),
    ("", "155 references", "team/app:big"),
]


def test_a_search_finds(page: Page) -> None:
    for words, count, first in SEARCHES:
        assert search(page, "references", words) == count, words
        assert first_column(page, "references")[0] == first, words


def test_a_layer_is_found_by_its_whole_digest(page: Page) -> None:
    assert search(page, "layers", digest("1")) == "1 of 2 layers"


def test_a_search_without_results_shows_zero(page: Page) -> None:
    assert search(page, "references", "nothing-of-this") == "0 of 155 references"
    assert first_column(page, "references") == []


def test_a_button_shows_more_than_a_hundred_rows(page: Page) -> None:
    assert len(first_column(page, "references")) == 100
    page.get_by_role("button", name="Show 55 more of 55").click()
    assert len(first_column(page, "references")) == 155


def test_a_cell_of_the_platform_matrix_links_to_its_images(page: Page) -> None:
    row = table(page, "matrix").locator("tr", has_text="team/app")
    row.get_by_role("cell").nth(2).click()
    expect_references(page, ["team/app:big"])
    box = page.get_by_role("searchbox", name="Search references")
    assert box.input_value() == "repo:team/app platform:linux/arm64"
    # The back button works as for any link.
    page.go_back()
    page.go_forward()
    expect_references(page, ["team/app:big"])


def test_a_count_of_missing_attachments_links_to_these_images(page: Page) -> None:
    rows = page.locator("#trust table").first.locator("tbody tr")
    assert [row.split() for row in rows.all_inner_texts()] == [
        ["Signature", "1", "1", "151"],
        ["SBOM", "0", "2", "151"],
        ["Provenance", "0", "0", "153"],
    ]
    assert first_column(page, "trust")[:2] == ["team/db", "team/app"]
    rows.nth(1).get_by_role("link").click()
    expect_references(page, ["team/app:big", "team/db:1"])


def test_a_tile_of_the_treemap_links_to_its_repository(page: Page) -> None:
    page.locator(".wide-map a", has_text="app").click()
    expect_references(page, ["team/app:big"])


def test_a_kind_of_change_filters_the_changes_until_clicked_again(page: Page) -> None:
    chip = page.get_by_role("button", name="removed")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    assert first_column(page, "changes") == [f"{HOST}/team/app:small"]
    chip.click()
    assert len(first_column(page, "changes")) == 5


def test_a_digest_expands_to_its_full_length(page: Page) -> None:
    search(page, "references", "team/new:1")
    row = table(page, "references").locator("tbody tr")
    row.locator("summary", has_text="sha256").click()
    assert row.locator(".digest").inner_text() == digest("9")


def test_light_and_dark_colour_schemes(browser: Browser, file: Path) -> None:
    with (
        opened(browser, file, color_scheme="light") as light,
        opened(browser, file, color_scheme="dark") as dark,
    ):
        colours = {"light": background(light), "dark": background(dark)}
        assert colours["light"] != colours["dark"]
        for page, scheme, other in ((light, "light", "dark"), (dark, "dark", "light")):
            toggle = page.get_by_role("button", name="Colours: system")
            for _ in range(1 + (other == "dark")):
                page.locator("#theme").click()
            assert page.locator("#theme").inner_text() == f"Colours: {other}"
            assert background(page) == colours[other]
            kept = page.evaluate("localStorage.getItem('auditor-theme')")
            assert kept == other
            # Chromium stores later than it says: on a busy machine a reload in 40 was
            # without the choice. So a script puts it there for the next visit.
            page.add_init_script(f"localStorage.setItem('auditor-theme', '{kept}')")
            page.reload()
            assert background(page) == colours[other]
            while not toggle.is_visible():
                page.locator("#theme").click()
            assert background(page) == colours[scheme]


def test_the_page_works_with_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to the content"
    page.keyboard.press("Enter")
    assert focused.get_attribute("id") == "main"
    table(page, "sizes").get_by_role("button", name="Images").focus()
    page.keyboard.press("Enter")
    head = table(page, "sizes").get_by_role("columnheader", name="Images")
    assert head.get_attribute("aria-sort") == "descending"
    # Scrollable regions can be focused and have a name.
    for region in page.locator(".scroll").all():
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("aria-label")


def test_every_control_has_a_name_for_a_screen_reader(page: Page) -> None:
    nameless = """() => [...document.querySelectorAll('button, a, input, summary')]
        .filter((one) => !one.closest('[aria-hidden]') && !one.textContent.trim()
                && !one.labels?.[0]?.textContent)
        .map((one) => one.outerHTML)"""
    assert page.evaluate(nameless) == []
    twice = """() => [...document.querySelectorAll('[id]')].map((one) => one.id)
        .filter((id, place, all) => all.indexOf(id) !== place)"""
    assert page.evaluate(twice) == []
    # A heading never skips a level.
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.tagName[1])"
    )
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_page_fits_on_a_phone(browser: Browser, file: Path) -> None:
    with opened(browser, file, viewport={"width": 360, "height": 740}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.locator(".narrow-map").is_visible()
        assert not page.locator(".wide-map").is_visible()
        for name in ("changes", "failures", "violations"):
            detail = table(page, name).locator("td[data-label=Detail]").first
            box = detail.bounding_box()
            assert box is not None
            assert 0 <= box["x"] < box["x"] + box["width"] <= 360


def test_the_page_is_readable_without_javascript(browser: Browser, file: Path) -> None:
    with opened(browser, file, java_script_enabled=False) as page:
        assert len(first_column(page, "changes")) == 5
        assert "needs JavaScript" in page.locator("#references").inner_text()


def hostile_report(folder: Path) -> str:
    """A report in which every text from the registry is hostile."""
    lines = []
    for text in HOSTILE:
        one = orjson.loads(orjson.dumps(images()[0]))
        one |= {
            "reference": f"{text}/{text}:{text}",
            "registry": text,
            "repository": text,
            "tag": text,
            "digest": text,
            "architectures": [f"{text}/{text}"],
            "warnings": [{"code": text, "detail": text}],
        }
        one["platforms"][0] |= {"os": text, "architecture": text, "digest": text}
        one["platforms"][0]["layers"] = [{"digest": ARMED, "size": 100}]
        one["platforms"][0]["base"] = {"name": text, "digest": text}
        one["platforms"][0]["config"] = {
            "user": text, "history": 1, "labels": {text: text, ARMED: text},
        }  # fmt: skip
        one["signed"] = False
        use = ("list", "place", "namespace", "workload", "container")
        uses = {
            "sources": [dict.fromkeys(use, text)],
            "input_labels": {text: [text, ARMED]},
        }
        one |= uses
        bad = orjson.loads(orjson.dumps(failure()))
        bad |= {
            "reference": f"{text}/failed",
            "repository": text,
            "registry": text,
            "failure": text,
            "detail": text,
            "stage": text,
            **uses,
        }
        lines += [one, bad]
    path = folder / f"{ARMED}.jsonl"
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in lines))
    return str(path)


def test_hostile_names_are_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    report = hostile_report(tmp_path)
    _, earlier = reports(tmp_path)
    policy = tmp_path / f"{ARMED}.toml"
    policy.write_text(POLICY)
    file = tmp_path / "page.html"
    options = ["--previous", earlier, "--policy", str(policy)]
    assert run(["html", report, *options, "-o", str(file)]) == 0
    text = file.read_text()
    assert not set(text) & set("\x00\x07\x1b\r\u2028\u202e")
    with opened(browser, file) as page:
        assert page.locator("script").count() == 4
        for button in table(page, "references").locator("button.open").all():
            button.click()
        assert ARMED in table(page, "references").locator(".uses").first.inner_text()
        harmful = page.locator("img, [onerror], [onload], a[href^=javascript]")
        assert harmful.count() == 0
        shown = "\n".join(first_column(page, "references"))
        for name in HOSTILE[:6]:
            assert f"{name}/{name}:{name}" in shown
        assert r"\x1b[31mred\x07\x00\r\n\u2028\u202egnp.exe" in shown
        assert ARMED in page.locator(".binding").inner_text()
        for what in ("failures", "changes", "violations", "matrix", "sizes"):
            assert ARMED in table(page, what).inner_text()
        # Digests are shown by their beginning.
        assert ARMED[:19] in table(page, "layers").inner_text()
        for link in table(page, "matrix").locator("tbody th a").all():
            link.click()
            assert first_column(page, "references"), link.inner_text()


def test_the_content_security_policy_blocks_an_injected_script(
    browser: Browser, file: Path
) -> None:
    text = file.read_text()
    broken = file.with_name("broken.html")
    broken.write_text(
        text.replace("</main>", "<script>document.title = 'broken'</script></main>")
    )
    with new_window(browser) as window:
        page = window.new_page()
        messages: list[str] = []
        page.on("console", lambda message: messages.append(message.text))
        page.goto(broken.as_uri())
        assert page.title() != "broken"
        assert any("Content Security Policy" in text for text in messages)
