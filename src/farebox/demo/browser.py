"""Reading the API Dashboard as a person does: Chromium, the sign-in form, the numbers on the page."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import Any, Final

from farebox.demo.processes import DemoFailedError
from farebox.demo.seen import millicredits_of
from farebox.domain.credits import MILLICREDITS_PER_CREDIT

CHROMIUM_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE_MILLISECONDS_MAX: Final = 60_000
DASHBOARD: Final = "/setup/storage/api-dashboard"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the page shows, in millicredits: used by the organisation, the sums of both tables, each app by its id."""

    used: int
    apps: int
    users: int
    by_app: dict[str, int]


def require() -> None:
    """Find out that the page can be read, before anything is started; DemoFailedError says what to install."""
    chromium()
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the demo without --check needs no browser
    except ImportError:
        raise DemoFailedError("--check drives Chromium through Playwright: pip install playwright") from None
    try:
        with sync_playwright():
            pass
    except Exception as error:
        raise DemoFailedError(
            f"Playwright's driver does not start ({error}); on a small Debian it lacks a library: "
            "sudo apt-get install libatomic1"
        ) from error


def chromium() -> str:
    """The path of Chromium; DemoFailedError says what to install."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise DemoFailedError(
            "--check reads the page in a browser: install Chromium (Debian: sudo apt-get install chromium)"
        )
    return path


def dashboard_figures(console_url: str, *, login: str, password: str, until_sum: int) -> Figures:
    """Sign in, open the dashboard, and read it once the users' sum is `until_sum` (or as it stands after a while)."""
    from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - as above

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        try:
            page = browser.new_page()
            page.set_default_timeout(PAGE_MILLISECONDS_MAX)
            page.goto(f"{console_url}/sign-in?next={DASHBOARD}")
            page.fill("input[name=login]", login)
            page.fill("input[name=password]", password)
            page.click("main form button")
            page.wait_for_selector("table.users tfoot")
            with contextlib.suppress(Error):  # the comparison names the difference
                page.wait_for_function(
                    "wanted => document.querySelectorAll('table.users tfoot tr:first-child td')[1]"
                    ".textContent.replaceAll(',', '') === wanted",
                    arg=_plain(until_sum),
                )
            return _figures(page)
        finally:
            browser.close()


def _figures(page: Any) -> Figures:  # noqa: ANN401 - Playwright is optional, and so are its types
    used = page.locator("table.figures tr", has_text="Used").first.locator("td").first.text_content()
    apps, users = (
        page.locator(f"table.{table} tfoot tr").first.locator("td").nth(1).text_content() for table in ("apps", "users")
    )
    by_app = {
        row.locator("small.detail").text_content(): millicredits_of(row.locator("td").nth(1).text_content())
        for row in page.locator("table.apps tbody tr", has=page.locator("small.detail")).all()
    }
    return Figures(
        used=millicredits_of(used or ""),
        apps=millicredits_of(apps or ""),
        users=millicredits_of(users or ""),
        by_app=by_app,
    )


def _plain(millicredits: int) -> str:
    whole, rest = divmod(millicredits, MILLICREDITS_PER_CREDIT)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") if rest else str(whole)
