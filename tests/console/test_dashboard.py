"""The API Dashboard as its readers meet it, without JavaScript: numbers, sums, states."""

from __future__ import annotations

import html
import re

import pytest
from tests.console.world import World, until

from farebox.console.pages import dashboard

PAGE = "/setup/storage/api-dashboard?org=acme&product=crm"
PRICES = "/setup/storage/how-credits-are-calculated?org=acme&product=crm"


def text_of(world: World, path: str = PAGE, login: str = "ada@acme.example") -> str:
    """What a reader sees, tags and runs of blanks taken out."""
    answer = world.client(login).get(path, follow_redirects=True)
    assert answer.status_code == 200
    body = re.sub(r"<title>.*?</title>", "", answer.text)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def use(world: World, credits: int, *, seconds_ago: int = 600) -> None:  # noqa: A002 - the glossary's word
    world.call("ben", credits=credits, seconds_ago=seconds_ago)


@pytest.fixture
def served(world: World) -> World:
    world.serve()
    world.loaded()
    return world


def test_the_sentence_says_used_total_share_calls_and_what_returns_within_the_hour(served: World) -> None:
    served.call("ada", credits=10, times=310, seconds_ago=85_000)
    served.call("ben", credits=9_380, seconds_ago=5_000)
    served.loaded()
    assert "12,480 of 52,500 used (24 %), 311 calls. 3,100 credits return within the hour." in text_of(served)


def test_the_total_is_made_before_the_readers_eyes_with_licences_not_user_rows(served: World) -> None:
    page = text_of(served)
    assert "50,000 base, plan Standard + 10 licences × 250 per licence = 52,500 total" in page
    assert "Licences are those purchased" in page


@pytest.mark.parametrize("path", [PAGE, PRICES])
def test_a_base_limit_of_its_own_is_not_said_to_be_the_plans(served: World, path: str) -> None:
    assert "base, plan Standard" in text_of(served, path)
    served.directory.subscribe("acme", "crm", card="zoho-crm", plan="standard", users=10, base=60_000_000)
    until(lambda: "60,000 base of this account + 10 licences" in text_of(served, path), what="the new base is shown")
    assert "base, plan" not in text_of(served, path)


@pytest.mark.parametrize("pool", ["", "&pool=functions"])
def test_the_page_links_its_own_figures_as_json_which_its_reader_may_read(served: World, pool: str) -> None:
    client = served.client("ada@acme.example")
    page = client.get(PAGE + pool).text
    links = re.findall(r'<a href="([^"]*)">(the organisation|by application|by user)</a>', page)
    assert [title for _, title in links] == ["the organisation", "by application", "by user"]
    for link, title in links:
        answer = client.get(html.unescape(link))
        assert answer.status_code == 200
        found = answer.json()
        assert (found["org"], found["product"], found["pool"]) == ("acme", "crm", "functions" if pool else "api")
        assert found.get("by") == {"by application": "app", "by user": "user"}.get(title)
        assert client.post(html.unescape(link)).status_code == 405
        assert served.client("olga@other.example").get(html.unescape(link)).status_code == 404
        assert served.client().get(html.unescape(link)).status_code == 401
    assert client.get(*re.findall(r'<a href="([^"]*)">openapi.json</a>', page)).status_code == 200


def test_held_and_used_and_unused_add_up_and_unaccounted_has_a_line_only_when_there_is_any(served: World) -> None:
    entries = served.call("ada", credits=100, settle=False)
    served.settle(entries, keeps=7_000)
    served.loaded()
    page = text_of(served)
    assert "Total 52,500" in page
    assert "Used 100" in page
    assert "Unused" in page
    assert "unaccounted" not in page


def test_every_user_is_listed_and_the_sums_agree(served: World) -> None:
    served.call("ada", credits=30)
    served.call("", credits=12)
    served.call("who-is-this", credits=5)
    served.loaded()
    page = text_of(served)
    assert "Ada Brandt ada@acme.example 1 30 63.8 %" in page
    assert "who-is-this not in the directory 1 5" in page
    assert "Farid Haddad farid@acme.example 0 0 0.0 %" in page
    assert "Calls without a user 1 12" in page
    assert re.search(r"Sum of users 3 47 0 Organisation less sum of users at \d\d:\d\d:\d\d: they agree 0", page)
    assert re.search(r"As of \d\d:\d\d:\d\d", page)


def test_every_application_is_listed_by_its_name_and_the_sums_agree(served: World) -> None:
    served.directory.add_app("acme", "lead-sync", name="Lead sync")
    served.directory.add_app("acme", "idle", name="Old import")
    served.call("ada", credits=30, app="lead-sync")
    served.call("", credits=12, app="")
    served.call("ben", credits=5, app="1000.STRANGE", times=2)
    served.refuse("ben", refusals=4, app="lead-sync")
    served.loaded()
    until(lambda: "Old import" in text_of(served), what="the applications are known")
    page = text_of(served)
    assert "Lead sync lead-sync 1 30 57.6 % 4 1000.STRANGE not in the directory 2 10 19.2 % 0" in page
    assert "Old import idle 0 0 0.0 % 0 Calls without an application 1 12 23.0 % 0" in page
    assert re.search(r"Sum of applications 4 52 4 Organisation less sum of applications at [\d:]+: they agree 0", page)
    assert re.search(r"Sum of users 4 52 4 ", page)
    assert "gets a name by farebox app add acme ID --name NAME" in page
    assert "came with a key or token that names none; a key of farebox key add acme --app ID names one" in page


def test_an_org_without_applications_is_told_how_one_gets_a_line(served: World) -> None:
    page = text_of(served)
    assert "No applications yet. The operator names one with farebox app add acme ID --name NAME" in page
    assert "No users yet" not in page
    assert re.search(r"Sum of applications 0 0 0 Organisation less sum of applications at [\d:]+: they agree 0", page)


def test_applications_beyond_those_shown_are_one_line_and_the_sums_still_agree(
    served: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "LINES_SHOWN_MAX", 2)
    for number in range(1, 6):
        served.call("ada", credits=number, app=f"app-{number}")
    served.refuse("ada", refusals=3, app="app-1")
    served.loaded()
    page = text_of(served)
    assert "app-4 not in the directory 1 4 26.6 % 0 3 more applications 3 6 3 Sum of applications 5 15 3" in page


def test_what_is_not_loaded_yet_is_said_not_hidden(world: World) -> None:
    world.serve(load=False)
    world.call("ada", credits=30)
    page = text_of(world)
    assert "30 of 52,500 used (1 %), 0 calls." in page
    assert "30 not loaded yet" in page
    assert "Nothing was loaded from the journal yet" in page


def test_what_quota_has_not_settled_yet_is_said_too(served: World) -> None:
    served.call("ada", credits=30, settle=False)
    served.loaded()
    assert "-30" in text_of(served)
    assert "30 not settled yet, counted as held" in text_of(served)


def test_an_org_without_calls_is_told_how_to_begin(served: World) -> None:
    page = text_of(served)
    assert "No calls yet: here is how to begin" in page
    assert "farebox app add acme my-app , then farebox key add acme --app my-app" in page
    assert re.search(r'curl -H "X-Farebox-Key: fbx_\.\.\." http://127\.0\.0\.1:8080/crm/v8/\w+', page)


@pytest.mark.parametrize(("used", "left"), [(42_000, "10,500"), (47_250, "5,250")])
def test_from_80_per_cent_on_the_page_says_what_is_left_and_what_can_be_done(
    served: World, used: int, left: str
) -> None:
    use(served, used - 1)
    served.loaded()
    assert f"{left} of 52,500 credits are left" not in text_of(served)
    use(served, 1)
    served.loaded()
    page = text_of(served)
    assert f"{left} of 52,500 credits are left" in page
    assert "Nothing is refused yet" in page
    mostly = f"spent 100.0 % of the credits ({used:,})"
    assert f"Pause what can wait. Of the applications , sync {mostly}; of the users , Ben Okafor {mostly}." in page
    assert "More licences, an add-on or a higher plan count within a second" in page
    assert "farebox org set acme --product crm and --users N , --addon N or --plan PLAN ." in page


def test_at_100_per_cent_the_page_says_what_has_stopped_and_when_credits_return(served: World) -> None:
    use(served, 2_500, seconds_ago=86_000)
    use(served, 50_000, seconds_ago=80_000)
    served.refuse("ben", refusals=1)
    served.loaded()
    assert re.search(r" 1 refused so far, the last at [\d:]+, of the application sync ;", text_of(served))
    served.refuse("ben", refusals=341)
    served.loaded()
    page = text_of(served)
    assert "Calls are refused: all 52,500 credits are used" in page
    assert re.search(r"342 refused so far, the last at [\d:]+, all of them of the application sync ;", page)
    served.refuse("ben", refusals=9, app="")
    served.loaded()
    page = text_of(served)
    assert re.search(r"351 refused so far, the last at [\d:]+, 342 of them of the application sync ;", page)
    assert re.search(r"2,500 (tomorrow )?at \d\d:\d\d:\d\d \(in 6 min\), 2,500 within the hour", page)
    assert re.search(r"50 % free \(26,250 credits\) (tomorrow )?at \d\d:\d\d:\d\d, if nothing more is spent", page)


def test_where_the_plan_gives_no_more_only_a_higher_plan_is_said_to_help(served: World) -> None:
    served.call("olga", org="other", credits=4_500)
    served.loaded()
    page = text_of(served, PAGE.replace("acme", "other"), "olga@other.example")
    assert "The plan gives at most 5,000, so only a higher plan does" in page
    assert "farebox org set other --product crm --plan PLAN" in page
    assert "add-on" not in page


def test_a_lowered_total_is_said_to_be_overrun(served: World) -> None:
    use(served, 52_000)
    served.directory.subscribe("acme", "crm", card="zoho-crm", plan="free")
    served.loaded()
    page = text_of(served)
    assert "47,000 credits more are used than the total now allows" in page
    assert "Unused -47,000" in page


def test_a_suspended_org_is_told_so(served: World) -> None:
    served.directory.suspend("acme")
    assert "This organisation is suspended" in text_of(served)


def test_loading_that_stands_still_is_said_with_its_time_and_the_totals_stay_current(served: World) -> None:
    use(served, 10)
    served.loaded()
    served.ingest.stop()
    since = served.ingest.loading().as_of
    assert since is not None
    until(lambda: "Loading is behind" in text_of(served), what="the page says that loading is behind")
    use(served, 5)
    page = text_of(served)
    assert "15 of 52,500 used" in page
    assert "the organisation's figures above are current" in page
    assert "5 not loaded yet" in page


def test_quota_out_of_reach_is_said_with_what_it_means_and_the_last_figures_stay(served: World) -> None:
    use(served, 10)
    served.loaded()
    assert "10 of 52,500 used" in text_of(served)
    (served.folder / "quota.db").rename(served.folder / "away.db")
    page = text_of(served)
    assert "Quota cannot be read since" in page
    assert "Calls go on within the credits already lent to the gateways" in page
    assert "after that they are refused until quota can be written again" in page
    assert "10 of 52,500 used" in page
    assert "not known while quota cannot be read" in page
    (served.folder / "away.db").rename(served.folder / "quota.db")
    assert "Quota cannot be read" not in text_of(served)


def test_usage_that_cannot_be_read_leaves_the_totals(served: World) -> None:
    use(served, 10)
    served.loaded()
    served.usage._root.execute("DROP TABLE entries")
    page = text_of(served)
    assert "10 of 52,500 used" in page
    assert page.count("Usage cannot be read now") == 2, "where applications stand, and where users do"


def test_times_are_the_orgs_own_and_labelled(served: World) -> None:
    assert re.search(r"Times: Europe/Berlin \(UTC\+0[12]:00\)", text_of(served))
    assert "Times: UTC." in text_of(served, PAGE.replace("acme", "other"), "olga@other.example")


def test_names_cannot_become_markup(served: World) -> None:
    served.directory.add_user("acme", "x", name="<img src=x onerror=alert(1)>")
    served.directory.add_app("acme", "y", name="<img src=y onerror=alert(2)>")
    served.call("<script>alert(1)</script>", credits=1, app="<script>alert(2)</script>")
    use(served, 52_499)
    served.loaded()
    page = served.client("ada@acme.example").get(PAGE).text
    assert "<img" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in page


def test_two_products_are_never_mixed(served: World) -> None:
    served.call("ada", credits=30)
    served.call("ada", product="bigin", credits=4)
    served.loaded()
    assert "30 of 52,500 used" in text_of(served)
    assert "4 of 52,500 used" in text_of(served, PAGE.replace("crm", "bigin"))


def test_who_names_no_account_gets_the_fullest_one(served: World) -> None:
    served.call("ada", credits=30_000)
    assert "30,000 of 52,500 used" in text_of(served, "/")


def test_how_credits_are_calculated_is_made_from_the_card_and_the_plan(served: World) -> None:
    page = text_of(served, PRICES)
    assert "Acme Fahrräder GmbH uses Zoho CRM, plan Standard" in page
    assert "50,000 base, plan Standard + 10 licences × 250 per licence = 52,500 total" in page
    assert "Every call costs 1 credit per call unless it is listed here" in page
    assert re.search(r"Convert Lead .*? 5 credits per call", page)
    assert re.search(r"Insert Records .*? 1 credit per 10 records, at most 10 credits", page)
    assert re.search(r"Record count .*?unconfirmed", page)


def test_the_page_is_semantic_and_labelled(served: World) -> None:
    page = served.client("ada@acme.example").get(PAGE).text
    assert page.count("<h1") == 1
    assert page.count("<main") == 1
    assert 'lang="en"' in page
    assert 'aria-live="polite"' in page
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        assert "<caption" in table or 'class="list"' in table
        assert 'scope="row"' in table or "<tbody></tbody>" in table


def test_shadow_mode_is_said_with_how_many_calls_would_have_been_refused_and_what_they_cost(served: World) -> None:
    served.directory.set_org("acme", shadow=True)
    until(lambda: "Shadow mode: no call is refused" in text_of(served), what="the page knows of shadow mode")
    assert "No call of the last 24 hours would have been refused." in text_of(served)
    use(served, 52_500)
    served.call("ada", credits=3, times=7, shadow="allowance", leased=False)
    served.loaded()
    page = text_of(served)
    assert "Would have been refused: 7 calls of the last 24 hours. They went through and cost 21 credits" in page
    assert "21 credits more are used than the total of 52,500 allows. Were shadow mode ended now" in page
    assert "of it would have been refused let through in shadow mode 7 21" in page
    assert "Calls are refused:" not in page
    assert "Shadow mode: nothing is refused; would have been refused: 7 calls." in page
    served.directory.set_org("acme", shadow=False)
    until(
        lambda: "Calls are refused: 21 credits more are used" in text_of(served), what="the page knows that it is over"
    )
    assert "Of what is used, 21 credits were let through in shadow mode" in text_of(served)
    assert "lowered" not in text_of(served)
    assert "of it would have been refused let through in shadow mode 7 21" in text_of(served), "it still counts in used"


def test_unleased_spend_has_a_line_of_its_own_only_where_there_is_any(served: World) -> None:
    use(served, 10)
    served.loaded()
    assert "unleased" not in text_of(served)
    served.call("ada", credits=2, times=3, leased=False)
    served.loaded()
    assert "of it unleased let through while quota was out of reach 6" in text_of(served)


def test_what_happens_to_calls_while_quota_is_out_of_reach_is_said_as_it_is_configured(world: World) -> None:
    world.serve(fails_open=True)
    world.loaded()
    use(world, 10)
    (world.folder / "quota.db").rename(world.folder / "away.db")
    assert "they are let through whatever the allowance, as gateway.quota_out_of_reach says" in text_of(world)
    world.directory.set_org("acme", shadow=True)
    until(lambda: "as the organisation is in shadow mode" in text_of(world), what="the page knows of shadow mode")


def test_the_look_ups_of_farebox_itself_have_a_name(served: World) -> None:
    served.call("farebox", app="farebox", times=2)
    served.loaded()
    assert text_of(served).count("Farebox itself asked the API whose tokens it was sent 2 2") == 2
    assert "not in the directory" not in text_of(served)
