"""A console over real parts in a folder: SQLite directory and quota, a journal, DuckDB usage, served on a free port."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from farebox import cards
from farebox.console.app import create_app
from farebox.console.auth import OPERATOR, Logins
from farebox.console.directory import DirectoryOrgs
from farebox.console.ingest import Ingest
from farebox.console.secret import signing_keys, write_local_access
from farebox.domain.cards import RateCard
from farebox.domain.credits import credits_of
from farebox.domain.identity import Account
from farebox.domain.instants import MICROSECONDS, Instant, second_of
from farebox.journal.records import CHARGE, CHARGED, REFUSALS, REFUSED, Entry
from farebox.journal.shipper import Shipper
from farebox.journal.writer import JournalWriter
from farebox.quota.allowances import allowance_of
from farebox.quota.directory import Directory
from farebox.quota.port import START, AccountSync, Gateway, Position, SyncRequest
from farebox.quota.sqlite import SqliteQuotaStore
from farebox.quota.sqlite_view import SpendFile
from farebox.testing.system import free_port
from farebox.usage.duckdb import DuckdbUsage

PASSWORD = "seven quiet words"


def wall_clock() -> Instant:
    return Instant(time.time_ns() // 1_000)


def until(condition: Callable[[], bool], *, what: str, seconds: float = 60.0) -> None:
    """Wait for a condition; never longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class _Server(uvicorn.Server):
    """As the console is served: live updates end before open connections are waited for."""

    def __init__(self, config: uvicorn.Config, *, on_stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stopping = on_stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)


class World:
    """Two organisations, some users, and a way to let calls happen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cards: dict[str, RateCard] = {}
        self.directory = Directory.open(folder)
        self._fill()
        self.orgs = DirectoryOrgs(folder, card_of=self.card)
        allowances = allowance_of(self.directory.image, self.card)
        self.quota = SqliteQuotaStore(folder / "quota.db", allowance_of=allowances)
        self.spend_file = SpendFile(folder / "quota.db", allowance_of=self.orgs.allowance)
        self.usage = DuckdbUsage(folder / "usage.duckdb", memory="64MB")
        self.shipper = Shipper(
            folder / "journal", self.usage, self.spend_file.settled_to, self.spend_file.is_closed, now=wall_clock
        )
        self.ingest = Ingest(shipper=self.shipper, usage=self.usage, history_days=400, clock=wall_clock)
        self.logins = Logins(folder / "console.db")
        self.logins.make_login("ada@acme.example", org="acme", password=PASSWORD)
        self.logins.make_login("olga@other.example", org="other", password=PASSWORD)
        self.logins.make_login("ops", org=OPERATOR, password=PASSWORD)
        self._sequence = 0
        self._incarnations = 0
        self.app: FastAPI | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.url = ""
        self.local_token = ""

    def card(self, name: str) -> RateCard:
        if name not in self._cards:
            self._cards[name] = cards.load(name)
        return self._cards[name]

    def _fill(self) -> None:
        self.directory.add_org("acme", name="Acme Fahrräder GmbH", time_zone="Europe/Berlin")
        self.directory.subscribe("acme", "crm", card="zoho-crm", plan="standard", users=10)
        self.directory.subscribe("acme", "bigin", card="bigin", plan="express", users=10)
        people = ("Ada Brandt", "Ben Okafor", "Chiara Russo", "Dmitri Sokolov", "Elif Kaya", "Farid Haddad")
        for name in people:
            first = name.split()[0].lower()
            self.directory.add_user("acme", first, name=name, email=f"{first}@acme.example")
        self.directory.add_org("other", name="Other Ltd")
        self.directory.subscribe("other", "crm", card="zoho-crm", plan="free")
        self.directory.add_user("other", "olga", name="Olga Secret")

    def account(self, org: str = "acme", product: str = "crm") -> Account:
        return Account(org, product, "api")

    # --- what gateways do ---------------------------------------------------------------------------------------

    def call(
        self,
        user: str = "ada",
        *,
        org: str = "acme",
        product: str = "crm",
        credits: int = 1,  # noqa: A002 - the glossary's word
        times: int = 1,
        seconds_ago: int = 0,
        settle: bool = True,
        **fields: Any,
    ) -> list[Entry]:
        """`times` calls that cost `credits` each: into the journal, and settled in quota."""
        stamp = self.quota.now() - seconds_ago * MICROSECONDS
        entry = entry_of(org=org, product=product, user=user, credits=credits_of(credits), stamp=stamp, **fields)
        entries = [entry] * times
        self.append(entries)
        if settle:
            self.settle(entries)
        return entries

    def refuse(
        self, user: str = "ada", *, org: str = "acme", product: str = "crm", refusals: int = 1, **fields: Any
    ) -> None:
        self.append(
            [
                entry_of(
                    org=org,
                    product=product,
                    user=user,
                    stamp=self.quota.now(),
                    kind=REFUSALS,
                    credits=0,
                    calls=0,
                    refusals=refusals,
                    outcome=REFUSED,
                    reason="allowance",
                    **fields,
                )
            ]
        )

    def append(self, entries: Iterable[Entry]) -> None:
        """Entries in the journal, as an incarnation of their own that wrote them and ended."""

        async def write() -> None:
            self._incarnations += 1
            writer = JournalWriter(
                self.folder / "journal",
                f"world-{self._incarnations}",
                durability="os",
                loop=asyncio.get_running_loop(),
                on_committed=lambda _entries, _position: None,
                segment_bytes=1 << 20,
            )
            for entry in entries:
                writer.append(entry, None)
            writer.close()

        with ThreadPoolExecutor(1) as beside:  # playwright has a loop running in this thread
            beside.submit(asyncio.run, write()).result(60)

    def settle(self, entries: Iterable[Entry], *, keeps: int = 0) -> None:
        """The credits of `entries` booked in quota, in one sync."""
        by_account: dict[Account, dict[int, int]] = {}
        for entry in entries:
            account = Account(entry.org, entry.product, entry.pool)
            spent = by_account.setdefault(account, {})
            spent[second_of(entry.stamp)] = spent.get(second_of(entry.stamp), 0) + entry.credits
        self._sequence += 1
        self.quota.sync(
            SyncRequest(
                gateway=Gateway("machine", 0, "world"),
                sequence=self._sequence,
                settled_from=START if self._sequence == 1 else Position(1, self._sequence - 1),
                settled_to=Position(1, self._sequence),
                accounts=tuple(
                    AccountSync(
                        org=account.org,
                        product=account.product,
                        pool=account.pool,
                        settled=tuple(sorted(spent.items())),
                        keeps=keeps,
                        needs=(),
                        likes=0,
                    )
                    for account, spent in by_account.items()
                ),
            )
        )

    # --- the console --------------------------------------------------------------------------------------------

    def serve(self, *, load: bool = True, public_url: str = "", fails_open: bool = False) -> str:
        """The console's address; `public_url` is what it believes people type."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.local_token = write_local_access(self.folder, self.url).token
        if load:
            self.ingest.start()
        app = create_app(
            orgs=self.orgs,
            card_of=self.card,
            quota=self.spend_file,
            usage=self.usage,
            loading=self.ingest.loading,
            clock=wall_clock,
            logins=self.logins,
            signing_keys=signing_keys(self.folder),
            gateway_url="http://127.0.0.1:8080",
            public_url=public_url or self.url,
            session_hours=12,
            local_token=self.local_token,
            fails_open=fails_open,
        )
        self.app = app
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=2
        )
        self._server = _Server(config, on_stopping=app.state.live.stop)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        server = self._server
        until(lambda: server.started, what="the console serves")
        return self.url

    def loaded(self) -> None:
        """Wait until the whole journal is in usage."""
        since = wall_clock()
        until(lambda: (self.ingest.loading().as_of or 0) > since, what="the journal is loaded")

    def client(self, login: str | None = None) -> httpx.Client:
        """A browser without pages; signed in when `login` is given."""
        client = httpx.Client(base_url=self.url, timeout=60)
        if login is not None:
            answer = sign_in(client, login, PASSWORD)
            assert answer.status_code == 303, answer.text
        return client

    def close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(60)
            assert not self._thread.is_alive(), "the console did not stop"
        self.ingest.stop()
        self.usage.close()
        self.quota.close()
        self.orgs.close()
        self.logins.close()
        self.directory.close()


def form_token(page: str) -> str:
    """The form token in a page."""
    return page.partition('name="form_token" value="')[2].partition('"')[0]


def sign_in(client: httpx.Client, login: str, password: str) -> httpx.Response:
    token = form_token(client.get("/sign-in").text)
    return client.post("/sign-in", data={"login": login, "password": password, "form_token": token})


def entry_of(**changes: Any) -> Entry:
    """An entry of one credit, changed as asked."""
    fields: dict[str, Any] = {
        "kind": CHARGE,
        "call_id": bytes(16),
        "stamp": 0,
        "org": "acme",
        "product": "crm",
        "pool": "api",
        "user": "ada",
        "app": "sync",
        "function": "",
        "task": "",
        "module": "Leads",
        "operation": "records-list",
        "method": "GET",
        "path_template": "/crm/{version}/{module}",
        "api_version": "v8",
        "target_hash": bytes(8),
        "client_ip": "127.0.0.1",
        "status": 200,
        "outcome": CHARGED,
        "reason": "",
        "quote": 1_000,
        "credits": 1_000,
        "addon": 0,
        "quantities": {},
        "records_returned": -1,
        "conditional": 0,
        "duration": 1_500,
        "bytes_in": 0,
        "bytes_out": 512,
        "calls": 1,
    }
    return Entry(**{**fields, **changes})
