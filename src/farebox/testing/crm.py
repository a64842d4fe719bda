"""The reference CRM API inside the process that tests: `running_crm()`; the pytest fixture `crm_api` is made of it."""

import http
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from farebox.crm.provision import (
    ClientCredentials,
    Credentials,
    create_organisation,
    create_resource_server,
)
from farebox.crm.serve import listen, make_server, url_of
from farebox.crm.settings import FunctionSettings, Settings, TokenLimits
from farebox.crm.store import Store

START_S = 60
STOP_S = 60
CALL_S = 60


class Caller:
    """Calls the API as one user of an organisation; paths are relative to `base`.

    JSON bodies go out without a Content-Type, as the official SDK sends them.
    """

    def __init__(self, url: str, credentials: Credentials, *, user: int = 0, base: str = "/crm/v8") -> None:
        self.credentials = credentials
        self.base = base
        self.http = httpx.Client(base_url=url, timeout=CALL_S)
        form = {
            "grant_type": "refresh_token",
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "refresh_token": credentials.users[user].refresh_token,
        }
        self.access_token: str = self.http.post("/oauth/v2/token", data=form).json()["access_token"]
        self.http.headers["Authorization"] = f"Zoho-oauthtoken {self.access_token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None, **params: Any) -> httpx.Response:  # noqa: ANN401 (what httpx takes)
        """`GET {base}/{path}`."""
        return self.http.get(f"{self.base}/{path}", params=params, headers=headers)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """`{method} {base}/{path}` with a JSON body, or none."""
        content = None if body is None else json.dumps(body).encode()
        return self.http.request(method, f"{self.base}/{path}", content=content, params=params, headers=headers)

    def insert(self, module: str, *records: Mapping[str, Any]) -> list[str]:
        """The ids of the new records, all of which must go in."""
        answer = self.send("POST", module, {"data": list(records)})
        assert answer.status_code == http.HTTPStatus.CREATED, answer.text
        return [each["details"]["id"] for each in answer.json()["data"]]

    def record(self, module: str, record_id: str) -> dict[str, Any]:
        """One record with all its fields."""
        answer = self.get(f"{module}/{record_id}")
        assert answer.status_code == http.HTTPStatus.OK, answer.text
        found: dict[str, Any] = answer.json()["data"][0]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCrm:
    """A CRM API that answers at `url`. `introspection` is a client that may introspect every token."""

    url: str
    store: Store
    introspection: ClientCredentials

    @property
    def token_url(self) -> str:
        """Where OAuth tokens come from."""
        return f"{self.url}/oauth/v2/token"

    @property
    def introspection_url(self) -> str:
        """Where a resource server asks what a token stands for (RFC 7662)."""
        return f"{self.url}/oauth/v2/introspect"

    def create_organisation(self, *, name: str = "Zylker", **options: Any) -> Credentials:  # noqa: ANN401 (of another function)
        """Another organisation; the options are those of farebox.crm.provision.create_organisation."""
        return create_organisation(self.store, name=name, **options)

    def caller(self, credentials: Credentials, *, user: int = 0, base: str = "/crm/v8") -> Caller:
        """Calls as the organisation's user number `user`, with a fresh access token."""
        return Caller(self.url, credentials, user=user, base=base)


@contextmanager
def running_crm(
    *,
    path: Path | None = None,
    public_url: str | None = None,
    local_callbacks: bool = True,
    token_limits: TokenLimits | None = None,
    functions: FunctionSettings | None = None,
) -> Iterator[RunningCrm]:
    """Run the API in a thread on a free loopback port; it has stopped when the block ends.

    Data is gone with the block unless `path` names a file. `public_url` is the `api_domain` of token answers when
    clients reach the API through something in front of it. `local_callbacks`: callbacks may lead to this machine.
    Tokens may be asked for as often as wanted unless there are `token_limits` (`TokenLimits()`: the original's).
    `functions`: where functions lie and what a run of them may take.
    """
    store = Store(path)
    listener = listen("127.0.0.1", 0)
    url = url_of(listener)
    settings = Settings(
        public_url=public_url or url, local_callbacks=local_callbacks, token_limits=token_limits, functions=functions
    )
    server = make_server(store, settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="crm", daemon=True)
    try:
        thread.start()
        deadline = time.monotonic() + START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the CRM API did not start; the log above says why")
            time.sleep(0.005)
        yield RunningCrm(url=url, store=store, introspection=create_resource_server(store, name="Resource server"))
    finally:
        server.should_exit = True
        thread.join(STOP_S)
        listener.close()
        store.close()
