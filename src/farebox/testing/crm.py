"""The reference CRM API inside the process that tests: `running_crm()` and the pytest fixture `crm_api`."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farebox.crm.provision import (
    ClientCredentials,
    Credentials,
    create_organisation,
    create_resource_server,
)
from farebox.crm.serve import listen, make_server, url_of
from farebox.crm.store import Store

START_S = 10
STOP_S = 10


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

    def create_organisation(self, *, name: str = "Zylker", **options: Any) -> Credentials:
        """Another organisation; the options are those of farebox.crm.provision.create_organisation."""
        return create_organisation(self.store, name=name, **options)


@contextmanager
def running_crm(*, path: Path | None = None, public_url: str | None = None) -> Iterator[RunningCrm]:
    """Run the API in a thread on a free loopback port; it has stopped when the block ends.

    Data is in memory unless `path` names a file. `public_url` is the `api_domain` of token answers when
    clients reach the API through something in front of it.
    """
    store = Store(path)
    listener = listen("127.0.0.1", 0)
    url = url_of(listener)
    server = make_server(store, public_url or url)
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


@pytest.fixture
def crm_api() -> Iterator[RunningCrm]:
    """A CRM API of its own for each test, empty but for what the test makes."""
    with running_crm() as crm:
        yield crm
