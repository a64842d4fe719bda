"""The API Dashboard in Chromium: numbers change without a reload, soon, and stay readable in every way of looking."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.console.world import PASSWORD, World

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGE = "/setup/storage/api-dashboard?org=acme&product=crm"
PRICES = "/setup/storage/how-credits-are-calculated?org=acme&product=crm"
SignIn = Callable[..., Page]


def row(page: Page, name: str, *, by: str = "users") -> list[str]:
    """The cells of a line of users, or of apps."""
    return page.locator(f"#{by} tr", has=page.get_by_role("rowheader", name=name)).locator("td").all_inner_texts()


def test_numbers_change_without_a_reload(world: World, sign_in: SignIn) -> None:
    world.serve()
    page = sign_in(path=PAGE)
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#sentence")).to_have_text("Nothing used: all 52,500 credits of the last 24 hours are there.")
    world.call("ada", credits=5, times=3)
    world.call("ben", credits=1)
    expect(page.locator("#sentence")).to_contain_text("16 of 52,500 used (1 %), 4 calls.")
    expect(page.locator("#users")).to_contain_text("they agree")
    assert row(page, "Ada Brandt")[:2] == ["3", "15"]
    assert row(page, "Ben Okafor")[:2] == ["1", "1"]
    assert row(page, "sync", by="apps")[:2] == ["4", "16"]
    world.directory.add_app("acme", "sync", name="Nightly sync")
    world.refuse("ben", refusals=2, app="erp")
    expect(page.locator("#apps")).to_contain_text("Nightly sync")
    expect(page.locator("#apps")).to_contain_text("erp")
    assert row(page, "Nightly sync", by="apps")[:3] == ["4", "16", "100.0 %"]
    assert row(page, "erp", by="apps")[-1] == "2"
    expect(page).to_have_title("1 % used · Acme Fahrräder GmbH · Farebox")
    assert page.evaluate("window.sameDocument") is True


def test_each_charge_appears_on_the_screen(world: World, sign_in: SignIn) -> None:
    world.serve()
    page = sign_in(path=PAGE)
    world.call("ada", credits=1)
    expect(page.locator("#sentence")).to_contain_text("1 of 52,500 used")
    waits = []
    for number in range(2, 22):
        began = time.monotonic()
        world.call("ada", credits=1)
        page.wait_for_function(
            """([used, calls]) => document.getElementById("sentence").textContent.includes(`${used} of 52,500`)
               && document.getElementById("users").textContent.includes("they agree")
               && document.getElementById("sentence").textContent.includes(`${calls} calls`)""",
            arg=[str(number), str(number)],
            polling=20,
            timeout=60_000,
        )
        waits.append(time.monotonic() - began)
    print("charge to screen, seconds:", sorted(round(wait, 3) for wait in waits))
    assert len(waits) == 20


def test_an_allowance_used_up_before_the_readers_eyes(world: World, sign_in: SignIn) -> None:
    world.serve()
    page = sign_in(path=PAGE)
    world.call("ben", credits=52_500, seconds_ago=3_000)
    world.refuse("ben", refusals=7)
    expect(page.locator("#notice")).to_contain_text("Calls are refused: all 52,500 credits are used")
    expect(page.locator("#notice")).to_contain_text("7 refused so far")
    expect(page.locator("#products")).to_contain_text("100 %")
    world.directory.subscribe("acme", "crm", card="zoho-crm", plan="standard", users=100)
    expect(page.locator("#notice")).not_to_contain_text("Calls are refused")
    expect(page.locator("#storage")).to_contain_text("75,000")


def test_an_open_table_stays_open_while_numbers_change(world: World, sign_in: SignIn) -> None:
    world.call("ada", credits=5)
    world.serve()
    page = sign_in(path=PAGE)
    page.get_by_text("As a table").click()
    world.call("ada", credits=1_000, seconds_ago=40_000)
    expect(page.locator("#returns-table")).to_contain_text("1,000")
    expect(page.locator("#returns-table tbody")).to_be_visible()


def test_a_console_that_stops_is_said_on_the_open_page(world: World, sign_in: SignIn) -> None:
    world.serve()
    page = sign_in(path=PAGE)
    expect(page.locator("#users")).to_contain_text("As of")
    assert world._server is not None
    world._server.should_exit = True
    expect(page.locator("#connection")).to_contain_text("The console does not answer", timeout=60_000)


def test_first_sign_in_by_the_link_in_a_browser(world: World, browser: Browser) -> None:
    world.logins.make_login("new@acme.example", org="acme")
    world.serve()
    link = world.logins.one_time_link("new@acme.example", base_url=world.url)
    page = browser.new_page()
    page.goto(link)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Once more").fill(PASSWORD)
    page.get_by_role("button", name="Set password and sign in").click()
    expect(page.get_by_role("heading", name="API Dashboard")).to_be_visible()
    page.goto(link)
    expect(page.get_by_role("heading", name="This link does not work any more")).to_be_visible()
    page.context.close()


def test_the_page_is_whole_without_javascript(world: World, sign_in: SignIn) -> None:
    world.call("ada", credits=5)
    world.serve()
    world.loaded()
    page = sign_in(path=PAGE, java_script_enabled=False)
    expect(page.locator("#sentence")).to_contain_text("5 of 52,500 used")
    expect(page.locator("#users")).to_contain_text("Farid Haddad")


@pytest.mark.parametrize("path", [PAGE, PRICES])
@pytest.mark.parametrize("width", [340, 380, 768, 1280])
def test_nothing_sticks_out_of_the_window(world: World, sign_in: SignIn, path: str, width: int) -> None:
    world.directory.add_app(
        "acme", "1000.X8ZP3M0S9KQ7RT5VWYB2C4D6F8G0HJ", name="Nightly synchronisation of all contacts"
    )
    world.call("ada", credits=40_000, app="1000.X8ZP3M0S9KQ7RT5VWYB2C4D6F8G0HJ")
    world.call("ada", app="1000.4D6F8G0HJX8ZP3M0S9KQ7RT5VWYB2C")
    world.refuse("ada", refusals=3)
    world.serve()
    world.loaded()
    page = sign_in(path=path, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(HIDDEN_TABLES) == [], "a number that one must scroll sideways for is not seen"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(world: World, sign_in: SignIn, scheme: str) -> None:
    world.call("ada", credits=52_499)
    world.call("ada", credits=1, app="")
    world.refuse("ada", refusals=3)
    world.serve()
    world.loaded()
    page = sign_in(path=PAGE, color_scheme=scheme)
    faint = page.evaluate(CONTRAST)
    assert faint == []


HIDDEN_TABLES = """() => [...document.querySelectorAll(".scroll")]
  .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.firstElementChild.className)"""

CONTRAST = """() => {
  const linear = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(element).backgroundColor);
      if (alpha > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    const speaks = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!element.innerText || !speaks) continue;
    const [a, b] = [luminance(numbers(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push([element.textContent.trim().slice(0, 40), ratio]);
  }
  return faint;
}"""
