"""The report in headless Chromium: opened, searched, clicked, saved from, and photographed light and dark.

Skipped where no Chromium is installed. MCX_SCREENSHOTS=DIR keeps the photographs.
"""

from __future__ import annotations

import os
import shutil
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.evaluation.report_run import make_run, write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM)
        yield running
        running.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_page(make_run(folder / "run"), compare=(make_run(folder / "seed_2", num_passed=4),))
    return folder / "report.html"


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    """The report, open; whatever it asks of a network or complains of is a failure."""
    opened = browser.new_page(viewport={"width": 1100, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(path.as_uri())
    yield opened
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert complaints == []
    opened.close()


def _shown(page: Page) -> int:
    return page.locator("details.sample:visible").count()


def test_samples_are_filtered_by_words_model_and_verdict(page: Page) -> None:
    every = page.locator("details.sample").count()
    assert _shown(page) == every == 48
    page.select_option("select[name=verdict]", "passed")
    passed = _shown(page)
    page.select_option("select[name=model]", "Codex-S")
    assert 0 < _shown(page) < passed < every
    page.fill("input[type=search]", "no sample says this")
    assert _shown(page) == 0
    assert page.inner_text("output") == "0 of 48 shown"
    page.fill("input[type=search]", "ALERT(1)")
    assert _shown(page) > 0
    page.locator("details.sample:visible").first.locator("summary").click()
    code = page.locator("details[open].sample code").first
    assert "<script>alert(1)</script>" in code.inner_text()


def test_every_section_is_reached_from_the_top(page: Page) -> None:
    links = page.locator("nav a").all()
    assert len(links) == page.locator("main > section").count() >= 9
    for link in links:
        link.click()
        target = page.locator(f"{link.get_attribute('href')} > h2")
        box = target.bounding_box()
        assert target.inner_text() == link.inner_text() and box is not None and box["y"] < 900
        page.evaluate("scrollTo(0, 0)")


def test_each_figure_is_saved_as_it_is_seen(page: Page, tmp_path: Path) -> None:
    figures = page.locator("figure")
    assert figures.count() >= 6
    figure = figures.nth(1)
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            figure.get_by_role("button", name=kind).click()
        name = download.value.suggested_filename
        download.value.save_as(tmp_path / name)
        assert name.endswith(f".{kind.lower()}") and name.startswith("pass@10_by_group")
    svg = next(tmp_path.glob("*.svg"))
    assert ElementTree.parse(svg).getroot().get("width", "").startswith("460.")
    width, height = struct.unpack(">2I", next(tmp_path.glob("*.png")).read_bytes()[16:24])
    assert (width, height) == (1382, 734)


def test_a_script_in_the_text_is_refused_by_the_page_itself(browser: Browser, path: Path) -> None:
    """Were a sample's text to become markup after all, the page's policy would still not run it."""
    text = path.read_text().replace("<main>", "<main><script>document.title = 'broken'</script>")
    with_script = path.with_name("with_script.html")
    with_script.write_text(text)
    opened = browser.new_page()
    opened.goto(with_script.as_uri())
    assert opened.title() == "A <test> run"
    opened.close()


def test_it_reads_without_scripts_and_on_a_phone(browser: Browser, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    opened = context.new_page()
    opened.goto(path.as_uri())
    assert not opened.locator("form.filter").is_visible()
    assert opened.locator("details.sample:visible").count() == 48
    picture = opened.screenshot(full_page=True)
    assert struct.unpack(">I", picture[16:20])[0] == 360, "the page is wider than the screen"
    context.close()


def test_it_is_photographed_light_and_dark(browser: Browser, path: Path, tmp_path: Path) -> None:
    folder = Path(os.environ.get("MCX_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    corners = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 900})
        opened = context.new_page()
        opened.goto(path.as_uri())
        opened.locator("details.sample summary").first.click()
        picture = opened.screenshot(path=folder / f"report_{scheme}.png", full_page=True)
        corners[scheme] = _first_pixel(picture)
        context.close()
    assert corners == {"light": (255, 255, 255), "dark": (20, 23, 27)}


def _first_pixel(png: bytes) -> tuple[int, ...]:
    """Red, green and blue of an 8-bit PNG's first pixel."""
    data, place = b"", 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += 12 + length
    return tuple(zlib.decompress(data)[1:4])
