"""What the reference CRM API takes, one `farebox crm` process with its store on disk: each figure beside its goal.

200,000 contacts go in by bulk writes of 25,000 rows, each belonging to one of 2,000 accounts; then bulk read, inserts,
lists and COQL over them, by HTTP on loopback. The process's memory (PSS) is read all the while.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import psutil

ROWS, JOBS = 25_000, 8
SAMPLES = 2_000
RECORDS = ROWS * JOBS + SAMPLES
READ_MAX = 200_000
FIELDS = "Last_Name,First_Name,Email,Account_Name,Lead_Source,Title,Owner,Created_Time"
HEAD = ("Last_Name", "First_Name", "Email", "Account_Name", "Title", "Mailing_City")
CALLS, WARM = 30, 3
MEMORY_MIB_MAX = 300
JOB_SECONDS_MAX = 300
JOB_SECONDS_GOAL = 5


@dataclass(frozen=True)
class Figure:
    """A median of several measurements that counts as reached below `goal`; without a goal it is for information."""

    name: str
    found: float
    goal: float | None
    unit: str
    measured: tuple[float, ...] = ()
    cpu: float | None = None
    """CPU that the process took for one of them, in the same unit: the steadier figure where others use the machine."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.goal is None else self.found < self.goal

    def told(self) -> dict[str, object]:
        """Print the line; the figure as it goes into build/bench.json."""
        goal = "" if self.goal is None else f"<{self.goal:g}"
        said = {None: "", True: "yes", False: "no"}[self.met]
        least = f"{min(self.measured):8.2f}" if self.measured else f"{'':8}"
        cpu = f"{'':8}" if self.cpu is None else f"{self.cpu:8.2f}"
        print(f"{self.name:64} {cpu} {least} {self.found:8.2f} {self.unit:4} {goal:>6}  {said}", flush=True)
        measured = [round(each, 3) for each in self.measured]
        return {
            "name": self.name,
            self.unit: round(self.found, 3),
            "cpu": None if self.cpu is None else round(self.cpu, 3),
            "goal": self.goal,
            "met": self.met,
            "measured": measured,
        }


def measure() -> list[dict[str, object]]:
    """Every figure, printed beside its goal, as it goes into build/bench.json."""
    print(f"\n{'CRM API, one process':64} {'cpu':>8} {'least':>8} {'median':>8} {'':4} {'goal':>6}  met")
    with tempfile.TemporaryDirectory(prefix="farebox-bench-crm-") as name, running(Path(name)) as (process, said):
        peak, zgid = Peak(process.pid), str(said["organisations"][0]["zgid"])
        with peak, caller(said) as client:
            figures = [each.told() for each in all_of(client, psutil.Process(process.pid), zgid)]
        figures.append(Figure("memory of the process, the most of all that", peak.mib, MEMORY_MIB_MAX, "MiB").told())
    return figures


def all_of(client: httpx.Client, process: psutil.Process, zgid: str) -> Iterator[Figure]:
    """In the order in which each finds what it needs."""
    query = f"select Account_Name, Industry from Accounts where id is not null limit {SAMPLES}"  # noqa: S608 - COQL
    companies = found(client, query)
    accounts = [each["id"] for each in companies]
    name, industry = companies[0]["Account_Name"], companies[0]["Industry"]
    timed = Timer(process)
    yield timed.jobs(f"bulk write of {ROWS:,} rows", JOBS, lambda n: bulk_write(client, zgid, accounts, n))
    yield timed.jobs(f"bulk read of {READ_MAX:,} records, download included", 3, lambda _: bulk_read(client))
    yield timed.calls("list of 200", 10, lambda _: get(client, "/crm/v8/Contacts", fields=FIELDS))
    yield timed.calls("insert of 100 records", 20, lambda n: insert(client, n))
    where = f"over {RECORDS:,} records"
    select = "select Last_Name, Account_Name.Industry from Contacts where"
    yield timed.calls(
        f"COQL {where}, a join, finds many: the first 200",
        50,
        lambda _: found(client, f"{select} Account_Name.Industry = '{industry}' limit 200"),
    )
    yield timed.calls(
        f"COQL {where}, a join, finds the {RECORDS // len(accounts)} of one account",
        50,
        lambda _: found(client, f"{select} Account_Name.Account_Name = '{name}' limit 200"),
    )
    yield timed.calls(
        f"COQL {where}, a join and a city, finds few",
        50,
        lambda n: found(client, f"{select} Mailing_City = 'City {n}' and Account_Name.Industry is not null limit 200"),
    )
    yield timed.calls(
        f"COQL {where}, a join, a count by industry: reads all",
        None,
        lambda _: found(
            client,
            "select COUNT(id), Account_Name.Industry from Contacts where id is not null group by Account_Name.Industry",
        ),
        times=5,
    )
    yield timed.calls(
        f"search {where}, by e-mail, finds one",
        None,
        lambda n: get(client, "/crm/v8/Contacts/search", email=f"p{n}@bench.example", fields="Email"),
    )


@dataclass(frozen=True)
class Timer:
    """Measures calls and jobs of a process, and the CPU it takes for them."""

    process: psutil.Process

    def calls(self, name: str, goal: float | None, call: Callable[[int], object], *, times: int = CALLS) -> Figure:
        """So many calls, after a few; `call` is given its number."""
        for number in range(WARM):
            call(number)
        spans, before = [], self._cpu_s()
        for number in range(WARM, WARM + times):
            started = time.perf_counter()
            call(number)
            spans.append((time.perf_counter() - started) * 1_000)
        cpu_ms = (self._cpu_s() - before) * 1_000 / times
        return Figure(name, statistics.median(spans), goal, "ms", tuple(spans), cpu_ms)

    def jobs(self, name: str, times: int, job: Callable[[int], float]) -> Figure:
        """So many jobs, each of which says how many seconds it took; the CPU is that of their uploads too."""
        before = self._cpu_s()
        spans = tuple(job(number) for number in range(times))
        return Figure(name, statistics.median(spans), JOB_SECONDS_GOAL, "s", spans, (self._cpu_s() - before) / times)

    def _cpu_s(self) -> float:
        used = self.process.cpu_times()
        return float(used.user + used.system)


def bulk_write(client: httpx.Client, zgid: str, accounts: list[str], number: int) -> float:
    """Seconds from asking for the job to its end; the upload is before that."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEAD)
    for n in range(number * ROWS, (number + 1) * ROWS):
        account = accounts[n * 7 % len(accounts)]
        writer.writerow((f"Person {n}", "Ann", f"p{n}@bench.example", account, "Buyer", f"City {n % 5_000}"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("contacts.csv", text.getvalue())
    headers = {"feature": "bulk-write", "X-CRM-ORG": zgid}
    files = {"file": ("contacts.zip", made.getvalue(), "application/zip")}
    file_id = checked(client.post("/crm/v8/upload", headers=headers, files=files)).json()["details"]["file_id"]
    resource = {"type": "data", "module": {"api_name": "Contacts"}, "file_id": file_id}
    started = time.perf_counter()
    job = checked(client.post("/crm/bulk/v8/write", json={"operation": "insert", "resource": [resource]})).json()
    ended = until_ended(client, f"/crm/bulk/v8/write/{job['details']['id']}", lambda answer: answer["status"])
    span = time.perf_counter() - started
    assert ended["resource"][0]["file"]["added_count"] == ROWS, ended
    return span


def bulk_read(client: httpx.Client) -> float:
    """Seconds from asking for the job to having its file; what is in it is counted afterwards."""
    query = {"module": {"api_name": "Contacts"}, "fields": FIELDS.split(",")}
    started = time.perf_counter()
    job = checked(client.post("/crm/bulk/v8/read", json={"query": query})).json()["data"][0]
    path = f"/crm/bulk/v8/read/{job['details']['id']}"
    ended = until_ended(client, path, lambda answer: answer["data"][0]["state"])
    archive = checked(client.get(f"{path}/result")).content
    span = time.perf_counter() - started
    assert ended["data"][0]["result"]["count"] == READ_MAX, ended
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        rows = files.read(files.namelist()[0]).count(b"\n") - 1
    assert rows == READ_MAX, rows
    return span


def until_ended(client: httpx.Client, path: str, state: Callable[[Any], str]) -> Any:  # noqa: ANN401 - JSON
    """The job once it is done; asked for twenty times a second."""
    deadline = time.monotonic() + JOB_SECONDS_MAX
    while time.monotonic() < deadline:
        answer = checked(client.get(path)).json()
        if state(answer) == "COMPLETED":
            return answer
        assert state(answer) not in ("FAILED", "FAILURE"), answer
        time.sleep(0.05)
    raise SystemExit(f"{path} did not end within {JOB_SECONDS_MAX} s")


def insert(client: httpx.Client, number: int) -> None:
    """A hundred new leads."""
    leads = [{"Last_Name": f"L{n}", "Email": f"l{number}-{n}@bench.example", "Company": "Acme"} for n in range(100)]
    assert client.post("/crm/v8/Leads", json={"data": leads}).status_code == HTTPStatus.CREATED


def found(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    """What a COQL query finds, which must be something."""
    answer = checked(client.post("/crm/v8/coql", json={"select_query": query}))
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def get(client: httpx.Client, path: str, **params: str) -> None:
    """A call that must find something."""
    assert checked(client.get(path, params=params)).json()["data"]


def checked(answer: httpx.Response) -> httpx.Response:
    """Any 2xx but 204: a figure of an answer that found nothing means nothing."""
    assert answer.is_success, f"{answer.status_code} {answer.text[:500]}"
    assert answer.status_code != HTTPStatus.NO_CONTENT, answer.request.url
    return answer


class Peak:
    """The most memory (PSS) that a process had between `with` and its end, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.mib = max(self.mib, self._process.memory_full_info().pss / 2**20)


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`farebox crm` with an organisation of 2,000 accounts, contacts, deals and leads."""
    seed = folder / "organisations.json"
    seed.write_text(json.dumps([{"name": "Zylker", "users": 10, "sample_records": SAMPLES}]), encoding="utf-8")
    command = [sys.executable, "-m", "farebox.cli", "crm", "--port", "0", "--data", str(folder), "--json"]
    process = subprocess.Popen([*command, "--organisations", str(seed)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)


def caller(said: dict[str, Any]) -> httpx.Client:
    """Calls as the first user."""
    organisation = said["organisations"][0]
    form = {name: organisation[name] for name in ("client_id", "client_secret", "refresh_token")}
    form["grant_type"] = "refresh_token"
    token = httpx.post(f"{said['url']}/oauth/v2/token", data=form).json()["access_token"]
    return httpx.Client(
        base_url=said["url"], headers={"Authorization": f"Zoho-oauthtoken {token}"}, timeout=JOB_SECONDS_MAX
    )


if __name__ == "__main__":
    measure()
