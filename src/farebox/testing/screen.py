"""The screen as a person's browser sees it: signed in to a console, watching the API Dashboard change by itself."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, Self

import httpx

from farebox.console.auth import Logins
from farebox.console.pages.dashboard import DASHBOARD
from farebox.errors import NameTakenError
from farebox.testing.system import CALL_SECONDS, RunningFarebox

PASSWORD: Final = "a password for tests"  # noqa: S105 - of a console that lives as long as a test
LOGINS_FILE: Final = "console.db"
QUIET_SECONDS: Final = 30.0
"""Longer than the console lets pass between two signs of life."""

_FORM_TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')
_USED: Final = re.compile(r"([\d,.]+) of [\d,.]+ used")
_USERS_SUM: Final = re.compile(r'Sum of users</th><td class="number">([\d,]+)</td><td class="number">([\d,.]+)</td>')


@contextmanager
def signed_in(farebox: RunningFarebox, org: str) -> Iterator[httpx.Client]:
    """A browser of a person of `org`, signed in through the sign-in page."""
    login = f"person@{org}.example"
    logins = Logins(farebox.data / LOGINS_FILE)
    try:
        logins.make_login(login, org=org, password=PASSWORD)
    except NameTakenError:
        pass  # signed in before
    finally:
        logins.close()
    with httpx.Client(base_url=farebox.console_url, follow_redirects=True, timeout=CALL_SECONDS) as browser:
        found = _FORM_TOKEN.search(browser.get("/sign-in").text)
        assert found is not None, "the sign-in page has no form token"
        form = {"login": login, "password": PASSWORD, "form_token": found[1], "next": "/"}
        answer = browser.post("/sign-in", data=form)
        assert answer.is_success, f"signing in: {answer.status_code} {answer.text}"
        yield browser


class Screen:
    """The live updates of one account's dashboard, followed in a thread: the numbers as last shown.

    `used` is the organisation's total, `users_sum` the table of users; both in credits as written, None until shown.
    """

    def __init__(self, browser: httpx.Client, org: str, product: str) -> None:
        self.used: str | None = None
        self.users_sum: str | None = None
        self._browser = browser
        self._place = {"org": org, "product": product}
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, name="screen", daemon=True)

    def __enter__(self) -> Self:
        request = self._browser.build_request("GET", f"{DASHBOARD}/live", params=self._place)
        url = request.url
        self._connection = http.client.HTTPConnection(url.host, url.port, timeout=QUIET_SECONDS)
        self._connection.request("GET", url.raw_path.decode("ascii"), headers={"Cookie": request.headers["Cookie"]})
        self._updates = self._connection.getresponse()
        assert self._updates.status == HTTPStatus.OK, f"live updates: {self._updates.status}"
        self._thread.start()
        self.wait_for(within_seconds=CALL_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(CALL_SECONDS)
        self._connection.close()

    def wait_for(
        self, *, used: str | None = None, users_sum: str | None = None, within_seconds: float
    ) -> tuple[float, float]:
        """Until both numbers stand on the screen (any, where None); the seconds each took."""
        began = time.monotonic()
        took: dict[str, float] = {}
        wanted = {"used": used, "users_sum": users_sum}
        with self._changed:
            while len(took) < len(wanted):
                for name, value in wanted.items():
                    shown = getattr(self, name)
                    if name not in took and shown is not None and value in (None, shown):
                        took[name] = time.monotonic() - began
                left = began + within_seconds - time.monotonic()
                assert left > 0, f"after {within_seconds:g} s used is {self.used!r}, sum of users {self.users_sum!r}"
                if len(took) < len(wanted):
                    self._changed.wait(min(left, 1.0))
        return took["used"], took["users_sum"]

    def _follow(self) -> None:
        try:
            for line in self._updates:
                if line.startswith(b"data:"):
                    self._show(json.loads(line.removeprefix(b"data:")))
        except (OSError, http.client.HTTPException):
            pass  # left, or the console ended: what was shown last stays on the screen

    def _show(self, fragments: dict[str, str]) -> None:
        used = _USED.search(fragments.get("sentence", ""))
        users_sum = _USERS_SUM.search(fragments.get("users", ""))
        with self._changed:
            if used is not None:
                self.used = used[1]
            elif "Nothing used" in fragments.get("sentence", ""):
                self.used = "0"
            if users_sum is not None:
                self.users_sum = users_sum[2]
            self._changed.notify_all()
