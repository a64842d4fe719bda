"""What the tests of the CRM API share: a running one, an organisation in it, and calls as its first user."""

from collections.abc import Iterator

import pytest

from farebox.crm.provision import Credentials
from farebox.testing.crm import Caller, RunningCrm, running_crm


@pytest.fixture(scope="session")
def crm() -> Iterator[RunningCrm]:
    with running_crm() as running:
        yield running


@pytest.fixture
def credentials(crm: RunningCrm) -> Credentials:
    return crm.create_organisation(name="Zylker", users=3, unique_fields={"Contacts": ["Email", "Mobile"]})


@pytest.fixture
def caller(crm: RunningCrm, credentials: Credentials) -> Iterator[Caller]:
    with crm.caller(credentials) as made:
        yield made
