"""Takes the README's picture: the API Dashboard of the demo's organisation whose credits are nearly used up.

farebox demo --data DIR --free-ports && python tools/screenshots.py DIR
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from farebox.demo.browser import CHROMIUM_FLAGS, DASHBOARD, chromium

TARGET = Path(__file__).resolve().parents[1] / "docs/images"
WIDTH, HEIGHT = 1200, 900


def main() -> None:
    """One picture for each organisation of the demo in the folder given."""
    demo = json.loads(Path(sys.argv[1], "demo.json").read_text())
    TARGET.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        for org in demo["orgs"]:
            page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}).new_page()
            page.goto(f"{demo['console_url']}/sign-in?next={DASHBOARD}")
            page.fill("input[name=login]", org["login"])
            page.fill("input[name=password]", org["password"])
            page.click("main form button")
            page.wait_for_selector("table.users tfoot")
            name = "dashboard" if org["plan"] == "free" else f"dashboard-{org['product']}"
            page.screenshot(path=TARGET / f"{name}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
