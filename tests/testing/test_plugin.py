"""`pip install farebox` gives every test suite the fixture `crm_api`."""

from farebox.testing.crm import RunningCrm


def test_the_fixture_gives_an_empty_api_of_its_own(crm_api: RunningCrm) -> None:
    made = crm_api.create_organisation(name="Mine", users=1)
    with crm_api.caller(made) as caller:
        assert caller.get("org").json()["org"][0]["company_name"] == "Mine"
