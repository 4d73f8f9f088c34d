"""A page in a real headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextmanager
def browse(width: int, height: int, **options: Any) -> Iterator[tuple[Any, list[str], list[str]]]:
    """Open a page; yield it with what it complains about, dialogs included, and the addresses that it requests.

    Skips the test where playwright or Chromium is not installed.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    browser = next(filter(None, map(shutil.which, NAMES)), None) or pytest.skip("needs Chromium")
    complaints, requests = list[str](), list[str]()
    with api.sync_playwright() as started, started.chromium.launch(executable_path=browser, args=FLAGS) as window:
        page = window.new_page(viewport={"width": width, "height": height}, **options)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        yield page, complaints, requests


def wait(page: Any, condition: str) -> None:
    """Wait for a condition; playwright's own wait needs eval, which the content policies forbid."""
    while not page.evaluate(condition):
        page.wait_for_timeout(20)
