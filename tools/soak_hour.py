"""`make soak-hour`: the gateway at half load for an hour; memory, journal and latency have to stay as they are.

First everything - upstream (nginx), `farebox serve`, this load - shares one core, and what that core carries is
measured, as fast as answers come. The soak then sends half of that rate, evenly, with all cores to run on: calls of
1,000 organisations with a key each, one in five a POST with 10 records. Latencies count from the planned instant of a
call. Each minute prints a line; the end prints a verdict and writes build/soak.json. Exit status 1 when not all is met.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb

from bench import fdatasync_p50_ms, free_port, nginx_running, upstream_conf, wait_for_health
from farebox.cards import body_facts, load
from farebox.domain import pricing
from farebox.domain.cards import CompiledCard
from farebox.metrics.endpoint import ask, processes
from farebox.quota.directory import Directory
from farebox.testing.system import ChildProcess
from open_loop import Call, Latencies, Load, Outcome

ROOT = Path(__file__).resolve().parents[1]
ORGS = 1_000
RECORDS_IN_BODY = 10
CONNECTIONS = 64
CARD = "zoho-crm"
KINDS = (("GET", "/crm/v8/Leads", "fields=Last_Name&page=1"), ("POST", "/crm/v8/Leads", ""))
WARM_UP = 1 / 6
"""Of the time: caches fill, the window's first rows are made. Slopes begin after it."""

GROWTH_MAX = 0.1
GROWTH_BYTES_MIN = 8 << 20
"""Flat: from the first to the last quarter of what follows the warm-up at most 10 % or 8 MiB more."""
FILES_MORE_MAX = 8
"""Open files come and go with segments and reads of the journal; connections are as many as before."""
JOURNAL_SEGMENTS_MAX = 8
"""Bounded: so many segments (8 MiB each, with two ready) are never exceeded while the console loads usage."""
P99_FACTOR_MAX, P99_SLACK_MS = 1.5, 1.0
"""Stable: the last quarter's p99 is at most 1.5 times the first's, or 1 ms above it: other programs share the core."""


@dataclass(slots=True)
class Reading:
    """What one minute looked like. Bytes, milliseconds; memory and files by process."""

    minute: float
    calls: int
    failed: int
    p50_ms: float
    p99_ms: float
    late_max_ms: float
    core_percent: dict[str, float]
    rss: dict[str, int]
    pss: dict[str, int]
    open_files: int
    """Of all processes; connections to the upstream left out, which come and go with the calls in flight."""
    journal_bytes: int
    journal_segments: int
    usage_bytes: int
    quota_bytes: int
    syncs: int
    usage_lag_seconds: float
    latencies: Latencies = field(default_factory=Latencies, repr=False)

    def as_json(self) -> dict[str, object]:
        """Without the raw latencies."""
        return {name: value for name, value in asdict(self).items() if name != "latencies"}


def main() -> int:
    """Soak, print, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="how long (default 60)")
    parser.add_argument("--share", type=float, default=0.5, help="of the measured capacity (default 0.5)")
    parser.add_argument("--rate", type=float, help="calls a second, instead of measuring")
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1, help="to measure the capacity on")
    parser.add_argument("--durability", choices=("disk", "os"), default="disk")
    parser.add_argument("--each", type=float, default=60, help="seconds per line (default 60)")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        report = soak(stack, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farebox-soak-"))), arguments)
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    build.joinpath("soak.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\nWritten to build/soak.json")
    return 0 if all(line["met"] for line in report["verdict"]) else 1  # type: ignore[attr-defined]  # a list of dicts


def soak(stack: ExitStack, folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """The whole run, as it goes into build/soak.json."""
    upstream, port = free_port(), free_port()
    nginx = "/usr/sbin/nginx"
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {arguments.core})  # children inherit it
    stack.enter_context(nginx_running(nginx, folder / "upstream", upstream_conf(upstream), arguments.core, upstream))
    data = folder / "data"
    keys = add_orgs(data)
    serve = serving(folder, data, upstream, port, arguments.durability)
    serve.launch()
    stack.callback(lambda: serve.stop() if serve.is_running else None)
    wait_for_health(port)
    load_ = Load(port, calls(keys), connections=CONNECTIONS)
    warm = load_.run(5, rate=None)
    rate, capacity, tried = arguments.rate, None, Outcome()
    if rate is None:
        tried = load_.run(10, rate=None)
        capacity = tried.statuses.total() / 10
        rate = capacity * arguments.share
    spread(serve.pid, here)
    print(
        f"{len(here)} cores; fdatasync p50 {fdatasync_p50_ms(folder):.3f} ms; durability {arguments.durability}\n"
        f"one core carries {'?' if capacity is None else f'{capacity:,.0f}'} calls/s, load and upstream included; "
        f"soaking at {rate:,.0f} calls/s for {arguments.minutes:g} min, {ORGS:,} organisations\n",
        flush=True,
    )
    readings, total = minutes(load_, serve.pid, data, rate, arguments)
    load_.close()
    wait_until_loaded(data, total + warm + tried)
    counted = workers(data, "credits_charged_total")
    gc.unfreeze()
    serve.stop()
    sums = agreed(data, total + warm + tried, counted)
    verdict = judged(readings, sums, total)
    for line in verdict:
        print(f"{line['question']:44} {'yes' if line['met'] else 'NO ':3}  {line['found']}")
    return {
        "cores": len(here),
        "minutes": arguments.minutes,
        "durability": arguments.durability,
        "capacity": capacity,
        "rate": rate,
        "calls": total.statuses.total(),
        "sums": sums,
        "verdict": verdict,
        "readings": [reading.as_json() for reading in readings],
    }


def spread(pid: int, cores: set[int]) -> None:
    """Let this load and every thread of the service run on all cores from now on."""
    os.sched_setaffinity(0, cores)
    for each in family(pid).values():
        for thread in Path(f"/proc/{each}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def minutes(
    load_: Load, pid: int, data: Path, rate: float, arguments: argparse.Namespace
) -> tuple[list[Reading], Outcome]:
    """Run the load, a line each minute."""
    print(
        f"{'min':>6} {'calls':>9} {'failed':>6} {'p50 ms':>7} {'p99 ms':>7} {'core %':>6}  "
        f"{'PSS MiB: gateway':>16} {'console':>8} {'superv.':>7}  {'files':>5} {'journal MiB':>11} {'usage MiB':>9} "
        f"{'quota MiB':>9} {'syncs':>7} {'lag s':>5}"
    )
    gc.collect()
    gc.freeze()
    readings: list[Reading] = []
    total = Outcome()
    began = time.monotonic()
    before = processor_seconds(pid)
    for _ in range(max(1, round(arguments.minutes * 60 / arguments.each))):
        at = time.monotonic()
        outcome = load_.run(arguments.each, rate=rate)
        took = time.monotonic() - at
        total += outcome
        now = processor_seconds(pid)
        share = {name: 100 * (now[name] - before.get(name, 0)) / took for name in now}
        before = now
        readings.append(reading((time.monotonic() - began) / 60, outcome, pid, data, share))
        show(readings[-1])
    return readings, total


def reading(minute: float, outcome: Outcome, pid: int, data: Path, share: dict[str, float]) -> Reading:
    """What there is to see now of the processes and files."""
    running = family(pid)
    rollups = {name: rollup(each) for name, each in running.items()}
    segments = list((data / "journal").glob("*/*"))
    console = ask(data, "console")
    return Reading(
        minute=round(minute, 2),
        calls=outcome.statuses.total(),
        failed=outcome.statuses.total() - outcome.kinds.total(),
        p50_ms=outcome.latencies.percentile_ms(50),
        p99_ms=outcome.latencies.percentile_ms(99),
        late_max_ms=round(outcome.late_max * 1_000, 2),
        core_percent={name: round(value, 1) for name, value in share.items()},
        rss={name: found["Rss"] for name, found in rollups.items()},
        pss={name: found["Pss"] for name, found in rollups.items()},
        open_files=open_files(running) - int(workers(data, "upstream_connections")),
        journal_bytes=sum(size(path) for path in segments),
        journal_segments=sum(size(path) > 1 << 20 for path in segments),
        usage_bytes=size(data / "usage.duckdb") + size(data / "usage.duckdb.wal"),
        quota_bytes=size(data / "quota.db") + size(data / "quota.db-wal"),
        syncs=int(workers(data, "syncs_total")),
        usage_lag_seconds=round(console.value("usage_lag_seconds", -1), 2),
        latencies=outcome.latencies,
    )


def workers(data: Path, name: str) -> float:
    """The sum of a figure over the gateway workers."""
    return sum(ask(data, process).value(name) for process in processes(data) if process.startswith("gateway"))


def show(found: Reading) -> None:
    """The line of a minute."""
    mib = 1 << 20
    gateways = sum(size for name, size in found.pss.items() if name.startswith("gateway"))
    print(
        f"{found.minute:6.1f} {found.calls:9,} {found.failed:6} {found.p50_ms:7.2f} {found.p99_ms:7.2f} "
        f"{sum(found.core_percent.values()):6.0f}  {gateways / mib:16.1f} "
        f"{found.pss['console'] / mib:8.1f} {found.pss['supervisor'] / mib:7.1f}  "
        f"{found.open_files:5} {found.journal_bytes / mib:11.1f} {found.usage_bytes / mib:9.1f} "
        f"{found.quota_bytes / mib:9.1f} {found.syncs:7,} {found.usage_lag_seconds:5.1f}",
        flush=True,
    )


def judged(readings: list[Reading], sums: dict[str, float], total: Outcome) -> list[dict[str, object]]:
    """Each question with its answer and what was found."""
    after = readings[int(len(readings) * WARM_UP) :] or readings
    quarter = max(1, len(after) // 4)
    first, last = after[:quarter], after[-quarter:]
    verdict: list[dict[str, object]] = []
    for name in sorted(after[0].pss):
        was = statistics.mean(each.pss[name] for each in first)
        grown = statistics.mean(each.pss[name] for each in last) - was
        found = f"{was / 2**20:.1f} MiB, then {grown / 2**20:+.1f}"
        verdict.append(line(f"memory of {name} is flat", grown <= max(GROWTH_MAX * was, GROWTH_BYTES_MIN), found))
    most = max(each.journal_segments for each in readings)
    journal = f"at most {most} segments, {max(each.journal_bytes for each in readings) / 2**20:.0f} MiB"
    verdict.append(line("the journal is bounded", most <= JOURNAL_SEGMENTS_MAX, journal))
    files = [each.open_files for each in after]
    flat = files[-1] <= files[0] + FILES_MORE_MAX
    verdict.append(line("open files are flat", flat, f"{files[0]}, at the end {files[-1]}"))
    early = sum((each.latencies for each in first), Latencies()).percentile_ms(99)
    late = sum((each.latencies for each in last), Latencies()).percentile_ms(99)
    stable = late <= max(P99_FACTOR_MAX * early, early + P99_SLACK_MS)
    verdict.append(line("p99 is stable, first to last quarter", stable, f"{early:.2f} ms, then {late:.2f} ms"))
    answers = ", ".join(f"{status}: {number:,}" for status, number in sorted(total.statuses.items()))
    verdict.append(line("every call was answered with 2xx", total.kinds.total() == total.statuses.total(), answers))
    same = len(set(sums.values())) == 1
    verdict.append(line("callers, metrics, quota and usage agree", same, f"{sums} credits"))
    return verdict


def line(question: str, met: bool, found: str) -> dict[str, object]:  # noqa: FBT001 - the answer
    """One line of the verdict."""
    return {"question": question, "met": met, "found": found}


def agreed(data: Path, total: Outcome, counted: float) -> dict[str, float]:
    """The credits of all calls, as four places say them."""
    prices = [price(*kind) for kind in KINDS]
    with sqlite3.connect(data / "quota.db") as quota:
        booked = quota.execute("SELECT sum(credits) FROM spend").fetchone()[0]
    with duckdb.connect(str(data / "usage.duckdb"), read_only=True) as usage:
        loaded = usage.execute("SELECT sum(credits) FROM entries").fetchone()
    assert loaded is not None
    return {
        "answered": sum(number * prices[kind] for kind, number in total.kinds.items()) / 1_000,
        "metrics": counted,
        "quota": booked / 1_000,
        "usage": int(loaded[0]) / 1_000,
    }


def wait_until_loaded(data: Path, total: Outcome, seconds: float = 120) -> None:
    """Until usage is as of now and the journal is settled."""
    deadline = time.monotonic() + seconds
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if 0 <= ask(data, "console").value("usage_lag_seconds", -1) < time.monotonic() - quiet_since:
            return
    raise SystemExit(f"usage was not loaded {seconds:g} s after the last of {total.statuses.total():,} calls")


def price(method: str, path: str, query: str) -> int:
    """Millicredits of a call of this kind."""
    match = CompiledCard(load(CARD)).match(method, path, query)
    facts = body_facts(match.operation.price, body()) if match.operation.needs_body else pricing.NO_BODY
    return pricing.quote(match, query, facts).ceiling


def body() -> bytes:
    """What a POST sends."""
    records = [{"Last_Name": f"Ward {number}", "Company": "Acme"} for number in range(RECORDS_IN_BODY)]
    return json.dumps({"data": records}).encode()


def calls(keys: list[str]) -> list[Call]:
    """A call for each org, one in five a POST."""
    content = body()
    found = []
    for number, key in enumerate(keys):
        kind = int(number % 5 == 0)
        method, path, query = KINDS[kind]
        head = f"{method} {path}{'?' + query if query else ''} HTTP/1.1\r\nHost: api.example\r\nX-Api-Key: {key}\r\n"
        if kind:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        found.append(Call(head.encode() + b"\r\n" + (content if kind else b""), kind))
    return found


def add_orgs(data: Path) -> list[str]:
    """The organisations, each with an allowance that lasts and a key."""
    directory = Directory.open(data)
    keys = []
    for number in range(ORGS):
        directory.add_org(f"org{number}", name=f"Org {number}")
        directory.subscribe(f"org{number}", "crm", card=CARD, plan="ultimate", users=100_000)
        keys.append(directory.add_key(f"org{number}").key)
    directory.close()
    return keys


def serving(folder: Path, data: Path, upstream: int, port: int, durability: str) -> ChildProcess:
    """`farebox serve` as people run it, one gateway worker."""
    conf = folder / "farebox.toml"
    conf.write_text(
        f'data = "{data}"\n[gateway]\nlisten = "127.0.0.1:{port}"\ndurability = "{durability}"\n'
        f'[console]\nlisten = "127.0.0.1:{free_port()}"\n[metrics]\nlisten = "127.0.0.1:0"\n'
        f'[[upstream]]\nname = "crm"\nurl = "http://127.0.0.1:{upstream}"\ncard = "{CARD}"\n',
        encoding="utf-8",
    )
    url = f"http://127.0.0.1:{port}/-/farebox/healthz"
    log = ROOT / "build/soak.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    return ChildProcess("serve", ["-m", "farebox.cli", "serve", "--config", str(conf)], health_url=url, log=log)


def family(pid: int) -> dict[str, int]:
    """The processes of the service by role."""
    found = {"supervisor": pid}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if "farebox.app" in words:
            role, _, *slot = (word for word in words[words.index("farebox.app") + 1 :] if word)
            found["-".join((role, *slot[:1]))] = int(child)
    return found


def processor_seconds(pid: int) -> dict[str, float]:
    """Processor time used so far, by process, and of this load."""
    found = {"load": time.process_time()}
    for name, each in family(pid).items():
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def open_files(running: dict[str, int]) -> int:
    """Open files and sockets of all of them."""
    return sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in running.values())


def rollup(pid: int) -> Counter[str]:
    """Bytes of memory by kind (proc(5), smaps_rollup)."""
    found: Counter[str] = Counter()
    for text in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = text.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return found


def size(path: Path) -> int:
    """Bytes the file takes on disk; 0 where there is none, for it may just have been removed."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
