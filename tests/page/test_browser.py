"""The page in a real browser: upload, ask, play a moment. No request leaves the machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from page.conftest import Served

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture
def page(served: Served) -> Iterator[Page]:
    """Yield the page on a telephone; afterwards check that no script failed and no request left the machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not (browser := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip("needs Chromium")
    complaints, hosts = list[str](), set[str]()
    with (
        playwright.sync_playwright() as started,
        started.chromium.launch(executable_path=browser, args=FLAGS) as window,
    ):
        page = window.new_page(viewport={"width": 390, "height": 844})
        page.on("request", lambda request: hosts.add(urlsplit(request.url.removeprefix("blob:")).netloc))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(f"http://127.0.0.1:{served.port}")
        yield page
    assert hosts - {""} == {f"127.0.0.1:{served.port}"}  # an address data: has no host
    assert [each for each in complaints if "status of 400" not in each] == []


def test_moment_is_found_and_played(page: Page, served: Served) -> None:
    name = "<img src=x onerror=alert(1)>.mp4"
    page.set_input_files("#file", {"name": name, "mimeType": "video/mp4", "buffer": served.clip})
    page.fill("#sentences", "it is red\n<script>alert(1)</script>")
    page.press("#sentences", "Enter")
    page.wait_for_selector("#answers article:nth-child(2)")
    assert page.inner_text("#name") == name
    assert page.inner_text("h2 >> nth=1") == "<script>alert(1)</script>"
    page.wait_for_selector("#strip canvas:nth-child(9)")
    with page.expect_download() as download:
        page.click("#json")
    found = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert (found["video"], found["answers"][0]["moments"][0]["start_sec"]) == (name, 1.5)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    page.focus(".play >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_function("!player.paused && player.currentTime > 1.5")
    page.wait_for_function("player.paused")
    assert 2.5 <= page.evaluate("player.currentTime") <= 2.8
    page.keyboard.press("ArrowRight")
    assert "moment" in page.evaluate("document.activeElement.ariaLabel")
    page.evaluate("player.play = async () => {}")  # stays at the start
    page.click(".bar >> nth=0")
    page.wait_for_function("!player.seeking && Math.abs(player.currentTime - 1.5) < 0.01")
    with page.expect_download() as download:
        page.click(".clip >> nth=0")
    assert Path(download.value.path()).stat().st_size > 500


def test_errors_are_shown(page: Page) -> None:
    page.press("#sentences", "Enter")
    assert page.inner_text("#error") == "Write a sentence: what happens in the moment?"
    page.set_input_files("#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
    page.wait_for_function("error.textContent.startsWith('The file is no video that can be read')")
    assert page.is_visible("#chooser")
    page.set_input_files("#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": bytes(300_000)})
    page.wait_for_function("error.textContent == 'The file has 1 MB; 0.2 MB is the most.'")
