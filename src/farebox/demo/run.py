"""The demo from start to finish: provision, start, drive, and leave everything running."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from farebox.console.auth import OPERATOR, Logins
from farebox.demo import processes, strategies
from farebox.demo.cast import Organisation, add_program, cast, enter
from farebox.demo.private import write_private
from farebox.demo.programs import PROGRAMS, Done, access_token
from farebox.errors import DataDirectoryError
from farebox.quota.directory import Directory

PORTS = {"gateway": 8080, "console": 8081, "CRM API": 8082}
DEMO_FILE = "demo.json"
PROCESSES_FILE = "processes.json"
PRIVATE = 0o700
GATEWAY_CLIENT = "farebox-gateway"
OPERATOR_LOGIN = "operator@farebox.example"


@dataclass(slots=True)
class Demo:
    """A demo under way: its folder, addresses, organisations and processes."""

    folder: Path
    ports: dict[str, int]
    organisations: tuple[Organisation, ...] = field(default_factory=cast)
    pids: dict[str, int] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    program_keys: dict[str, str] = field(default_factory=dict)
    """Of the two programs that do the same job, by the name of the app."""
    calls_before: int = 0
    """Bytes of the request log written before the gateway was there: the demo's own questions to the CRM API."""

    @property
    def gateway_url(self) -> str:
        """Where programs call."""
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def console_url(self) -> str:
        """Where people look."""
        return f"http://127.0.0.1:{self.ports['console']}"

    @property
    def crm_url(self) -> str:
        """The API behind the gateway."""
        return f"http://127.0.0.1:{self.ports['CRM API']}"

    @property
    def own(self) -> Path:
        """What belongs to the demo alone: the CRM's store, logs, the programs' folders."""
        return self.folder / "demo"

    @property
    def request_log(self) -> Path:
        """Every call that reached the CRM API, as it saw it."""
        return self.own / "crm-requests.jsonl"


def prepare(folder: Path) -> None:
    """An empty folder for a demo. What an earlier demo left there is removed; anything else is not touched.

    Raises DataDirectoryError when the folder holds something that no demo made, or a demo that still runs.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=PRIVATE, exist_ok=True)
        _clear(folder)
        folder.chmod(PRIVATE)
        (folder / "demo").mkdir(mode=PRIVATE)
        write_private(folder / DEMO_FILE, "{}\n")
    except OSError as error:
        raise DataDirectoryError(
            f"{folder} cannot be the demo's folder ({error}). Give it another: --data DIR"
        ) from error


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left; the file by which it is known as a demo's goes last."""
    left = list(folder.iterdir())
    if not left:
        return
    if not (folder / DEMO_FILE).is_file():
        raise DataDirectoryError(
            f"{folder} holds data that no demo made; it is left alone. Give the demo its own: --data DIR"
        )
    running = running_processes(folder)
    if running:
        names = ", ".join(running)
        raise DataDirectoryError(
            f"A demo is running on {folder} ({names}). Stop it first: farebox demo --stop --data {folder}"
        )
    for path in sorted(left, key=lambda each: each.name == DEMO_FILE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def running_processes(folder: Path) -> dict[str, int]:
    """The processes of the demo in `folder` that live, by the ids it noted; an id that went to another is left out."""
    path = folder / "demo" / PROCESSES_FILE
    noted: dict[str, int] = json.loads(path.read_text()) if path.is_file() else {}
    return {name: pid for name, pid in noted.items() if processes.is_running(pid, naming=f"{folder.resolve()}/")}


def start(demo: Demo, say: Callable[[str], None]) -> None:
    """The CRM API, then Farebox in front of it; `say` is told what is being done.

    Whatever was started is stopped again when something fails.
    """
    try:
        say(f"Starting the CRM API on {demo.crm_url} ...")
        gateway_secret = _write_configuration(demo)
        _start_crm(demo, gateway_secret)
        say("Telling Farebox about three organisations, their people, apps and plans ...")
        _provision(demo)
        demo.calls_before = demo.request_log.stat().st_size
        say(f"Starting Farebox in front of it: gateway {demo.gateway_url}, console {demo.console_url} ...")
        _start_farebox(demo)
    except BaseException:
        processes.stop(demo.pids)
        raise
    _write_demo_file(demo)


def drive(demo: Demo, report: Callable[[Done], None]) -> list[Done]:
    """Run every organisation's programs, then one job twice at the first; `report` is told each step as it ends."""
    done = []
    for organisation in demo.organisations:
        for step in PROGRAMS[organisation.name](demo.gateway_url, organisation, demo.own / "programs"):
            report(step)
            done.append(step)
    for step in strategies.both(demo.gateway_url, demo.organisations[0], demo.program_keys):
        report(step)
        done.append(step)
    return done


def stop(folder: Path) -> bool:
    """Stop the demo in `folder`; False when none was running."""
    pids = running_processes(folder)
    for name in processes.stop(pids):
        print(f"{name} did not stop by itself and was killed", file=sys.stderr)
    return bool(pids)


def _write_configuration(demo: Demo) -> str:
    secret = os.urandom(20).hex()
    upstreams = "".join(
        f'\n[[upstream]]\nname = "{name}"\nurl = "{demo.crm_url}"\ncard = "{card}"\npaths = {json.dumps(paths)}\n'
        'identity = "introspection"\n\n[upstream.introspection]\n'
        f'url = "{demo.crm_url}/oauth/v2/introspect"\nclient_id = "{GATEWAY_CLIENT}"\nclient_secret = "{secret}"\n'
        'org_claim = "org"\nuser_claim = "user_id"\napp_claim = "client_id"\n'
        for name, card, paths in (("crm", "zoho-crm", ["/crm/", "/v8/", "/oauth/"]), ("bigin", "bigin", ["/bigin/"]))
    )
    write_private(
        demo.folder / "farebox.toml",
        "# The demo's configuration: one CRM API, two products, callers known by its OAuth tokens.\n"
        f'data = "."\n\n[gateway]\nlisten = "127.0.0.1:{demo.ports["gateway"]}"\nquota_wait_seconds = 30.0\n\n'
        f'[console]\nlisten = "127.0.0.1:{demo.ports["console"]}"\n\n'
        f'[metrics]\nlisten = "127.0.0.1:0"  # a free one\n{upstreams}',
    )
    return secret


def _start_crm(demo: Demo, gateway_secret: str) -> None:
    seed = {
        "organisations": [organisation.seed() for organisation in demo.organisations],
        "resource_servers": [{"name": "Farebox gateway", "client_id": GATEWAY_CLIENT, "client_secret": gateway_secret}],
    }
    seed_file = demo.own / "organisations.json"
    write_private(seed_file, json.dumps(seed, indent=2))
    _start(
        demo,
        "CRM API",
        [
            *("crm", "--port", str(demo.ports["CRM API"]), "--data", str(demo.own / "crm")),
            *("--public-url", demo.gateway_url, "--seed-file", str(seed_file), "--no-token-limits"),
            *("--request-log", str(demo.request_log), "--local-callbacks"),
        ],
        f"{demo.crm_url}/crm/v8/org",
        status=httpx.codes.UNAUTHORIZED,
    )


def _provision(demo: Demo) -> None:
    directory = Directory.open(demo.folder)
    logins = Logins(demo.folder / "console.db")
    try:
        for organisation in demo.organisations:
            user_ids = _user_ids(demo, organisation)
            demo.keys[organisation.org] = enter(directory, organisation, user_ids)
            if organisation is demo.organisations[0]:
                for name, position in strategies.PERSON.items():
                    user = user_ids[organisation.people[position].email]
                    demo.program_keys[name] = add_program(directory, organisation, name=name, user=user)
            logins.make_login(organisation.login, org=organisation.org, password=organisation.password)
        logins.make_login(OPERATOR_LOGIN, org=OPERATOR)
    finally:
        directory.close()
        logins.close()


def _user_ids(demo: Demo, organisation: Organisation) -> dict[str, str]:
    """E-mail -> id, asked from the CRM API itself."""
    token = access_token(demo.crm_url, organisation, organisation.people[0])
    path = "/crm/v8/users" if organisation.product == "crm" else "/bigin/v2/users"
    answer = httpx.get(demo.crm_url + path, headers={"Authorization": f"Zoho-oauthtoken {token}"}, timeout=10)
    return {user["email"]: user["id"] for user in answer.raise_for_status().json()["users"]}


def _start_farebox(demo: Demo) -> None:
    config = ["serve", "--config", str(demo.folder / "farebox.toml")]
    _start(demo, "Farebox", config, f"{demo.gateway_url}/-/farebox/healthz")
    processes.wait_until_healthy(f"{demo.console_url}/healthz", demo.pids["Farebox"], log=_log(demo, "Farebox"))


def _start(demo: Demo, name: str, arguments: list[str], health_url: str, *, status: int = httpx.codes.OK) -> None:
    demo.pids[name] = processes.start(arguments, log=_log(demo, name))
    write_private(demo.own / PROCESSES_FILE, json.dumps(demo.pids))
    processes.wait_until_healthy(health_url, demo.pids[name], log=_log(demo, name), status=status)


def _log(demo: Demo, name: str) -> Path:
    return demo.own / f"{name.lower().replace(' ', '-')}.log"


def _write_demo_file(demo: Demo) -> None:
    """Addresses and logins for people and programs; readable by its owner only."""
    content = {
        "gateway_url": demo.gateway_url,
        "console_url": demo.console_url,
        "crm_url": demo.crm_url,
        "orgs": [
            {
                "name": organisation.name,
                "org": organisation.org,
                "product": organisation.product,
                "plan": organisation.plan,
                "client_id": organisation.client_id,
                "client_secret": organisation.client_secret,
                "refresh_token": organisation.people[0].refresh_token,
                "api_key": demo.keys[organisation.org],
                "login": organisation.login,
                "password": organisation.password,
            }
            for organisation in demo.organisations
        ],
    }
    write_private(demo.folder / DEMO_FILE, json.dumps(content, indent=2) + "\n")
