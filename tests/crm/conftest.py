"""What the tests of the CRM API share: a running one, an organisation in it, and calls as its users."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from farebox.crm.provision import Credentials
from farebox.testing.crm import RunningCrm, running_crm

Json = dict[str, Any]


class Caller:
    """Calls as one user of an organisation; bodies go out without a Content-Type, as the SDK's do."""

    def __init__(self, crm: RunningCrm, credentials: Credentials, *, user: int = 0, base: str = "/crm/v8") -> None:
        self.crm = crm
        self.credentials = credentials
        self.http = httpx.Client(base_url=crm.url)
        self.base = base
        form = {
            "grant_type": "refresh_token",
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "refresh_token": credentials.users[user].refresh_token,
        }
        answer = self.http.post("/oauth/v2/token", data=form).json()
        self.access_token: str = answer["access_token"]
        self.http.headers["Authorization"] = f"Zoho-oauthtoken {self.access_token}"

    def get(self, path: str, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        return self.http.get(f"{self.base}/{path}", params=params, headers=headers)

    def send(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None, **params: Any
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode()
        return self.http.request(method, f"{self.base}/{path}", content=content, params=params, headers=headers)

    def insert(self, module: str, *records: Json) -> list[str]:
        """The ids of the new records, all of which must go in."""
        answer = self.send("POST", module, {"data": list(records)})
        assert answer.status_code == 201, answer.text
        return [each["details"]["id"] for each in answer.json()["data"]]

    def record(self, module: str, record_id: str) -> Json:
        answer = self.get(f"{module}/{record_id}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()["data"][0]
        return found


@pytest.fixture(scope="session")
def crm() -> Iterator[RunningCrm]:
    with running_crm() as running:
        yield running


@pytest.fixture
def credentials(crm: RunningCrm) -> Credentials:
    return crm.create_organisation(name="Zylker CRM standard", users=3, unique_fields={"Contacts": ["Email", "Mobile"]})


@pytest.fixture
def caller(crm: RunningCrm, credentials: Credentials) -> Iterator[Caller]:
    made = Caller(crm, credentials)
    with made.http:
        yield made
