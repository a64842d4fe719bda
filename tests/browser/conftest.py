from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from tests.console.world import PASSWORD, World

expect.set_options(timeout=60_000)
CHROMIUM_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "browser tests need Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture
def sign_in(world: World, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the dashboard as somebody; anything the browser complains about fails the test."""
    complaints: list[str] = []
    contexts = []

    def signed_in(login: str = "ada@acme.example", *, path: str, **options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]  # playwright's own options
        contexts.append(context)
        context.set_default_timeout(90_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if _complains(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(world.url + path)
        page.get_by_label("Login").fill(login)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"**{path}")
        return page

    yield signed_in
    for context in contexts:
        context.close()
    assert complaints == []


def _complains(message: ConsoleMessage) -> bool:
    """An error that is not just a console that went away, which one test means to see."""
    return message.type == "error" and "ERR_CONNECTION_REFUSED" not in message.text
