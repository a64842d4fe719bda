"""`make bench`: the gateway against nginx proxy_pass on the same core, paired, medians, goals beside results.

Core 0 runs the proxy under test, one at a time; core 1 runs the load (wrk), the upstream (nginx) and the console, which
loads usage meanwhile. Each round measures nginx, then the gateway, so that a machine that drifts drifts for both; the
figure is the median of the rounds' ratios. Prints a table and writes build/bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.request import urlopen

import psutil

import bench_crm
import bench_quota
from farebox.quota.directory import Directory

ROOT = Path(__file__).resolve().parents[1]
ORGS = 1_000
RECORDS_IN_BODY = 10
FRESH = "Contacts"
"""Of this module every request and every answer has a header field of its own."""
PROXY_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Goal:
    """A ratio that counts as reached from `goal` on."""

    name: str
    durability: str
    script: str
    goal: float


GOALS = (
    Goal("plain GET, durability disk", "disk", "plain.lua", 0.4),
    Goal("plain GET, durability os", "os", "plain.lua", 0.5),
    Goal("varied paths, durability disk", "disk", "varied.lua", 0.4),
    Goal("varied paths, durability os", "os", "varied.lua", 0.5),
    Goal("never the same head, durability disk", "disk", "fresh.lua", 0.4),
    Goal("never the same head, durability os", "os", "fresh.lua", 0.5),
    Goal("shipped default, durability disk", "disk", "default.lua", 0.4),
    Goal("shipped default, durability os", "os", "default.lua", 0.5),
)


@dataclass(frozen=True)
class Run:
    """One measurement: requests per second, median latency in ms, answers that were not 2xx."""

    rate: float
    p50_ms: float
    failed: int
    cpu_us: float = 0.0
    """Microseconds of the core that the proxy took for a request; 0: not measured."""


def main() -> int:
    """Measure, print, write; exit status 0 whether or not goals are met: a figure that falls short is a result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="pairs per figure (default 5)")
    parser.add_argument("--seconds", type=int, default=5, help="of load per measurement (default 5)")
    parser.add_argument("--connections", type=int, default=24, help="default 24: the plan allows 25 calls in flight")
    parser.add_argument("--peers", type=Path, help="environment of Envoy and LiteLLM (default .venv-peers)")
    parser.add_argument("--no-peers", action="store_true", help="measure nothing but nginx and Farebox")
    arguments = parser.parse_args()
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farebox-bench-")))
        report = measure(stack, folder, nginx, arguments)
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    build.joinpath("bench.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\nWritten to build/bench.json")
    return 0


def measure(stack: ExitStack, folder: Path, nginx: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Every figure, as it goes into build/bench.json."""
    write_load(folder)
    upstream, proxy = free_port(), free_port()
    stack.enter_context(nginx_running(nginx, folder / "upstream", upstream_conf(upstream), LOAD_CORE, upstream))
    stack.enter_context(nginx_running(nginx, folder / "proxy", proxy_conf(proxy, upstream), PROXY_CORE, proxy))
    sync_ms = fdatasync_p50_ms(ROOT)
    print(f"{os.cpu_count()} cores; fdatasync p50 here {sync_ms:.3f} ms; rounds {arguments.rounds}\n")
    print(f"{'figure':40} {'nginx/s':>9} {'farebox/s':>9} {'ratio':>6} {'goal':>5}  met  us: nginx  farebox")
    figures: list[dict[str, object]] = []
    for durability in ("disk", "os"):
        with gateway_running(folder, upstream, durability) as gateway:
            wanted = [goal for goal in GOALS if goal.durability == durability]
            figures.extend(paired(goal, folder, proxy, gateway, arguments) for goal in wanted)
            if durability == "disk":
                figures.append(latency(folder, proxy, gateway, arguments))
    import bench_workers  # noqa: PLC0415 - it is made of the functions here

    figures += bench_workers.measure(folder, upstream, arguments)
    figures += bench_quota.measure(folder, rounds=arguments.rounds)
    figures += bench_crm.measure()
    from bench_peers import ENVIRONMENT, Ground, compare  # noqa: PLC0415 - it is made of the functions here

    environment = arguments.peers or ENVIRONMENT
    ground = Ground(folder=folder, upstream=upstream, proxy=proxy, nginx=nginx, environment=environment)
    peers = [] if arguments.no_peers else compare(ground, folder / "plain.lua", arguments, figures)
    return {"cores": os.cpu_count(), "fdatasync_p50_ms": round(sync_ms, 3), "figures": figures, "peers": peers}


def paired(goal: Goal, folder: Path, proxy: int, gateway: int, arguments: argparse.Namespace) -> dict[str, object]:
    """The median of the rounds' ratios farebox / nginx, with every round."""
    script = folder / goal.script
    wrk(gateway, script, 2, arguments.connections)
    rounds = []
    for _ in range(arguments.rounds):
        plain = with_cpu("nginx", proxy, script, arguments)
        ours = with_cpu("python", gateway, script, arguments)
        if ours.failed:
            raise SystemExit(
                f"{goal.name}: {ours.failed} answers were not 2xx (build/bench.log); the figure means nothing"
            )
        rounds.append((plain, ours))
    ratio = statistics.median(ours.rate / plain.rate for plain, ours in rounds)
    nginx_rate = statistics.median(plain.rate for plain, _ in rounds)
    our_rate = statistics.median(ours.rate for _, ours in rounds)
    met = ratio >= goal.goal
    nginx_us = statistics.median(plain.cpu_us for plain, _ in rounds)
    our_us = statistics.median(ours.cpu_us for _, ours in rounds)
    line = (
        f"{goal.name:40} {nginx_rate:9,.0f} {our_rate:9,.0f} {ratio:6.2f} {goal.goal:5.2f}  {'yes' if met else 'no':3}"
    )
    print(f"{line} {nginx_us:8.1f} {our_us:8.1f}")
    return {
        "name": goal.name,
        "ratio": round(ratio, 3),
        "goal": goal.goal,
        "met": met,
        "cpu_us": {"nginx": round(nginx_us, 1), "farebox": round(our_us, 1)},
        "rounds": [{"nginx": asdict(plain), "farebox": asdict(ours)} for plain, ours in rounds],
    }


def with_cpu(program: str, port: int, script: Path, arguments: argparse.Namespace) -> Run:
    """One load, and what each request took of the proxy's core: where others use the machine, the steadier figure."""
    before = busy_seconds(program)
    run = wrk(port, script, arguments.seconds, arguments.connections)
    return replace(run, cpu_us=(busy_seconds(program) - before) * 1e6 / (run.rate * arguments.seconds))


def busy_seconds(program: str) -> float:
    """CPU time, user and system, of what runs under that name on the proxy's core."""
    children = psutil.Process().children(recursive=True)
    proxies = [child for child in children if program in child.name() and child.cpu_affinity() == [PROXY_CORE]]
    return sum(child.cpu_times().user + child.cpu_times().system for child in proxies)


def latency(folder: Path, proxy: int, gateway: int, arguments: argparse.Namespace) -> dict[str, object]:
    """What one connection waits longer than at nginx, p50, durability disk."""
    script = folder / "default.lua"
    pairs = [(wrk(proxy, script, 2, 1), wrk(gateway, script, 2, 1)) for _ in range(arguments.rounds)]
    added = statistics.median(ours.p50_ms - plain.p50_ms for plain, ours in pairs)
    met = added < 0.8  # noqa: PLR2004 - the goal
    name = "added p50, one connection (ms), disk"
    print(f"{name:40} {'':9} {'':9} {added:6.2f} {'<0.8':>5}  {'yes' if met else 'no'}")
    return {"name": name, "added_ms": round(added, 3), "goal": 0.8, "met": met}


def wrk(port: int, script: Path, seconds: int, connections: int) -> Run:
    """One load from core 1."""
    command = [
        "taskset",
        "-c",
        str(LOAD_CORE),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout=15s",
    ]
    command += ["-s", str(script), f"http://127.0.0.1:{port}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = json.loads(out[out.index("RESULT") + len("RESULT") :].strip().splitlines()[0])
    return Run(result["requests"] / result["seconds"], result["p50_us"] / 1000, result["failed"])


def write_load(folder: Path) -> None:
    """The kinds of load as wrk scripts: one path; every path another; every head another; 1,000 orgs with records."""
    done = (
        "done = function(s, l, r)\n"
        "  local failed = s.errors.status + s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout\n"
        '  io.write(string.format(\'RESULT {"requests": %d, "seconds": %f, "p50_us": %d, "failed": %d}\\n\',\n'
        "    s.requests, s.duration / 1e6, l:percentile(50), failed))\nend\n"
    )
    folder.joinpath("plain.lua").write_text(
        'wrk.headers["Authorization"] = "Zoho-oauthtoken token-1"\n'
        'request = function() return wrk.format("GET", "/crm/v8/Leads/1") end\n' + done,
        encoding="utf-8",
    )
    for name, module, fields in (("varied", "Leads", ""), ("fresh", FRESH, ', ["X-Request-Id"] = "request-" .. n')):
        folder.joinpath(f"{name}.lua").write_text(
            "local n = 0\nrequest = function()\n  n = n + 1\n"
            f'  local headers = {{["Authorization"] = "Zoho-oauthtoken token-1"{fields}}}\n'
            f'  return wrk.format("GET", "/crm/v8/{module}/" .. 5000000000000 + 7 * n, headers)\nend\n' + done,
            encoding="utf-8",
        )
    body = json.dumps({"data": [{"Last_Name": f"Ward {n}", "Company": "Acme"} for n in range(RECORDS_IN_BODY)]})
    folder.joinpath("default.lua").write_text(
        f"local body = [[{body}]]\nlocal requests, n = {{}}, 0\n"
        "init = function(args)\n"
        f"  for i = 0, {ORGS - 1} do\n"
        '    local headers = {["Authorization"] = "Zoho-oauthtoken token-" .. i}\n'
        '    if i % 5 == 0 then requests[i] = wrk.format("POST", "/crm/v8/Leads", headers, body)\n'
        '    else requests[i] = wrk.format("GET", "/crm/v8/Leads?fields=Last_Name&page=1", headers) end\n'
        "  end\nend\n"
        f"request = function() n = (n + 1) % {ORGS}; return requests[n] end\n" + done,
        encoding="utf-8",
    )


def upstream_conf(port: int) -> str:
    """A server that answers everything with a small JSON, and introspection by the token's number."""
    record = '{"data":[{"id":"1","Last_Name":"Ward","Company":"Acme","Email":"ward@acme.example"}]}'
    return (
        f"server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000;\n"
        f"  default_type application/json; location / {{ return 200 '{record}'; }}\n"
        f"  location /crm/v8/{FRESH}/ {{ add_header X-Request-Id $request_id; return 200 '{record}'; }}\n}}\n"
    )


def proxy_conf(port: int, upstream: int) -> str:
    """The nginx proxy_pass with kept-alive upstream connections: what Farebox is compared with."""
    return (
        f"upstream api {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000;\n"
        '  location / { proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection "";\n'
        "    proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }\n}\n"
    )


@contextmanager
def nginx_running(nginx: str, folder: Path, servers: str, core: int, port: int) -> Iterator[None]:
    """One nginx with one worker on one core."""
    folder.mkdir()
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; "
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n{servers}}}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(["taskset", "-c", str(core), nginx, "-c", str(conf), "-p", str(folder)])
    try:
        wait_for_port(port)
        yield
    finally:
        end(process)


@contextmanager
def gateway_running(folder: Path, upstream: int, durability: str, workers: int = 1) -> Iterator[int]:
    """`farebox serve` with everything on, a gateway worker on core 0, all else on core 1; the gateway's port."""
    data = folder / f"data-{durability}"
    port, console, introspection = free_port(), free_port(), free_port()
    add_orgs(data)
    conf = folder / f"farebox-{durability}.toml"
    conf.write_text(
        f'data = "{data}"\n[gateway]\nlisten = "127.0.0.1:{port}"\ndurability = "{durability}"\n'
        f"workers = {workers}\n"
        f'[console]\nlisten = "127.0.0.1:{console}"\n[metrics]\nlisten = "127.0.0.1:0"\n'
        f'[[upstream]]\nname = "crm"\nurl = "http://127.0.0.1:{upstream}"\ncard = "zoho-crm"\npaths = ["/"]\n'
        f'identity = "introspection"\n[upstream.introspection]\n'
        f'url = "http://127.0.0.1:{introspection}/introspect"\n',
        encoding="utf-8",
    )
    answers = subprocess.Popen([sys.executable, str(ROOT / "tools/bench_introspection.py"), str(introspection)])
    wait_for_port(introspection)
    log = ROOT / "build/bench.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as out:
        serve = subprocess.Popen(
            ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "farebox.cli", "serve", "--config", str(conf)],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_health(port)
        pin_gateway(serve.pid)
        yield port
    finally:
        end(serve)
        end(answers)


def add_orgs(data: Path) -> None:
    """The orgs of the load, each with an allowance that lasts."""
    directory = Directory.open(data)
    for number in range(ORGS):
        directory.add_org(f"org{number}", name=f"Org {number}")
        directory.subscribe(f"org{number}", "crm", card="zoho-crm", plan="ultimate", users=100_000)
    directory.close()


def pin_gateway(supervisor: int) -> None:
    """Move the gateway worker, all threads of it, to core 0."""
    children = subprocess.run(["pgrep", "-P", str(supervisor)], capture_output=True, text=True, check=True).stdout
    for pid in children.split():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"gateway" in words:
            subprocess.run(["taskset", "-a", "-c", "-p", str(PROXY_CORE), pid], capture_output=True, check=True)
            return
    raise SystemExit("no gateway worker found below the supervisor")


def fdatasync_p50_ms(folder: Path) -> float:
    """What this machine's disk takes to make 4 KiB durable."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, 4 << 20)
        os.fsync(file.fileno())
        for number in range(200):
            os.pwrite(file.fileno(), b"x" * 4096, number * 4096)
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - before)
    return statistics.median(times) * 1000


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 15) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port} after {seconds} s")


def wait_for_health(port: int, seconds: float = 30) -> None:
    """Until the gateway says that it is ready."""
    deadline = time.monotonic() + seconds
    wait_for_port(port, seconds)
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/-/farebox/healthz", timeout=1) as answer:
                if answer.status == 200:  # noqa: PLR2004
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the gateway does not become ready")


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process, politely first."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
