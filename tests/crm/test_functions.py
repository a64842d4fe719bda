"""Functions: run in processes of their own, bounded, with integration tasks in the caller's name."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest

from farebox.crm import tokens
from farebox.crm.settings import FunctionSettings
from farebox.testing.crm import Caller, RunningCrm, running_crm
from farebox.testing.system import ChildProcess, free_port, until
from farebox.testing.upstream import Behaviour, StubUpstream

EXAMPLES = Path(__file__).parents[2] / "docs" / "functions"
JSON = (("Content-Type", "application/json"),)

ECHO = "def run(crm, **arguments):\n    return arguments\n"
WRITE_PID_AND_WAIT = """
    import os, pathlib, time

    def run(crm, mark):
        place = pathlib.Path(mark)
        place.with_suffix(".new").write_text(str(os.getpid()))
        place.with_suffix(".new").rename(place)
        while not place.with_suffix(".go").exists():
            time.sleep(0.01)
        return "went on"
"""


class Functions:
    """A running API with a folder of functions, and calls of its first organisation's first user."""

    def __init__(self, crm: RunningCrm, caller: Caller, folder: Path) -> None:
        self.crm = crm
        self.caller = caller
        self.folder = folder

    def write(self, name: str, source: str) -> None:
        (self.folder / f"{name}.py").write_text(dedent(source), encoding="utf-8")

    def execute(self, name: str, caller: Caller | None = None, /, **arguments: Any) -> httpx.Response:
        path = f"functions/{name}/actions/execute"
        return (caller or self.caller).send("POST", path, {"arguments": arguments}, params={"auth_type": "oauth"})

    def output(self, source: str, **arguments: Any) -> Any:
        """What a function of that source returns."""
        self.write("made", source)
        answer = self.execute("made", **arguments)
        assert answer.status_code == 200, answer.text
        output = answer.json()["details"]["output"]
        try:
            return json.loads(output)
        except ValueError:
            return output


@contextmanager
def functions_in(folder: Path, **bounds: Any) -> Iterator[Functions]:
    folder.mkdir(exist_ok=True)
    with running_crm(functions=FunctionSettings(folder=folder, **bounds)) as crm:
        credentials = crm.create_organisation(users=1)
        with crm.caller(credentials) as caller:
            caller.http.timeout = httpx.Timeout(120)
            yield Functions(crm, caller, folder)


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Functions]:
    folder = tmp_path_factory.mktemp("functions")
    with functions_in(folder, memory_mb=64, output_bytes_max=10_000, at_once=2) as made:
        made.write("echo", ECHO)
        yield made


def assert_refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json().keys() == {"code", "details", "message", "status"}
    details: dict[str, Any] = answer.json()["details"]
    return details


def test_the_example_of_the_documentation_runs_and_changes_what_it_says(functions: Functions) -> None:
    functions.write("rate_lead", (EXAMPLES / "rate_lead.py").read_text(encoding="utf-8"))
    (lead,) = functions.caller.insert("Leads", {"Last_Name": "Ada", "Company": "Zylker", "Email": "a@b.example"})
    answer = functions.execute("rate_lead", lead_id=lead)
    details = answer.json()["details"]
    assert answer.json() == {
        "code": "success",
        "details": {
            "output": "Active",
            "output_type": "string",
            "id": details["id"],
            "userMessage": ["Ada: Email, Company known"],
        },
        "message": "function executed successfully",
    }
    assert len(details["id"]) == 19
    assert functions.caller.record("Leads", lead)["Rating"] == "Active"


GIVEN = {"name": "Ada", "limit": 3}


@pytest.mark.parametrize(
    "request_of",
    [
        {"method": "GET", "params": {"auth_type": "oauth", "arguments": json.dumps(GIVEN)}},
        {"method": "POST", "params": {"arguments": json.dumps(GIVEN)}},
        {"method": "POST", "data": {"arguments": json.dumps(GIVEN)}},
        {"method": "POST", "files": {"arguments": (None, json.dumps(GIVEN))}},
        {"method": "POST", "json": {"arguments": GIVEN}},
        {"method": "POST", "json": {"arguments": json.dumps(GIVEN)}},
        {"method": "POST", "json": {"arguments": GIVEN}, "params": {"arguments": '{"name": "the query"}'}},
    ],
)
def test_arguments_come_in_the_query_a_form_or_json(functions: Functions, request_of: dict[str, Any]) -> None:
    answer = functions.caller.http.request(url="/crm/v8/functions/echo/actions/execute", **request_of)
    assert json.loads(answer.json()["details"]["output"]) == GIVEN


@pytest.mark.parametrize("arguments", ["[1]", "no JSON", '"text"', "[" * 5_000])
def test_arguments_that_are_no_json_object_are_refused(functions: Functions, arguments: str) -> None:
    answer = functions.caller.get("functions/echo/actions/execute", arguments=arguments)
    assert assert_refused(answer, 400, "INVALID_DATA")["expected_data_type"] == "jsonobject"


def test_arguments_that_the_function_does_not_take_are_refused_before_it_runs(functions: Functions) -> None:
    functions.write("takes", "def run(crm, lead_id, limit=10):\n    return [lead_id, limit]\n")
    assert functions.execute("takes", lead_id=1).json()["details"]["output"] == "[1, 10]"
    refused = assert_refused(functions.execute("takes", limit=1), 400, "INVALID_DATA")
    assert (refused["param"], refused["reason"]) == ("arguments", "missing a required argument: 'lead_id'")
    for wrong in ({"lead_id": 1, "other": 2}, {"lead_id": 1, "crm": 2}):
        assert_refused(functions.execute("takes", **wrong), 400, "INVALID_DATA")


@pytest.mark.parametrize("name", ["nope", "_shared", "echo.py", "..%5Cecho", "1", "écho"])
def test_what_is_no_function_is_404(functions: Functions, name: str) -> None:
    functions.write("_shared", ECHO)
    assert_refused(functions.execute(name), 404, "RESOURCE_NOT_FOUND")


def test_without_a_folder_there_are_no_functions(caller: Caller) -> None:
    answer = caller.send("POST", "functions/echo/actions/execute")
    assert_refused(answer, 404, "RESOURCE_NOT_FOUND")


def test_only_oauth_is_offered_and_its_scope_is_checked(functions: Functions) -> None:
    answer = functions.caller.get("functions/echo/actions/execute", auth_type="apikey", zapikey="1003.x")
    assert assert_refused(answer, 400, "INVALID_DATA")["supported_values"] == ["oauth"]
    token = tokens.issue_access_token(
        functions.crm.store,
        client_id=functions.caller.credentials.client_id,
        user_id=int(functions.caller.credentials.users[0].id),
        scope="ZohoCRM.modules.ALL ZohoCRM.functions.execute.READ",
    )
    headers = {"Authorization": f"Zoho-oauthtoken {token}"}
    answer = functions.caller.send("POST", "functions/echo/actions/execute", headers=headers)
    assert_refused(answer, 401, "OAUTH_SCOPE_MISMATCH")
    assert functions.caller.get("functions/echo/actions/execute", headers=headers).status_code == 200


MISSING = 'required field not found {"api_name": "Last_Name", "json_path": "$.data[0].Last_Name"}'
ENDINGS: dict[str, tuple[str, str, str]] = {
    "an exception": (
        "def run(crm):\n    print('so far')\n    {}['Email']\n",
        "FUNCTION_FAILED",
        "KeyError: 'Email'",
    ),
    "a syntax error": ("def run(crm:\n", "FUNCTION_FAILED", "SyntaxError: '(' was never closed"),
    "no entry point": ("def main(crm): ...\n", "FUNCTION_FAILED", "TypeError: made.py has no function run(crm, ...)"),
    "sys.exit": ("import sys\ndef run(crm):\n    sys.exit(3)\n", "FUNCTION_FAILED", "SystemExit: 3"),
    "an output that is no JSON": (
        "def run(crm):\n    return {1, 2}\n",
        "FUNCTION_FAILED",
        "TypeError: Object of type set is not JSON serializable",
    ),
    "a refused task": (
        "def run(crm):\n    crm.createRecord('Leads', {})\n",
        "FUNCTION_FAILED",
        "farebox.crm.function_tasks.TaskError: createRecord: 400 MANDATORY_NOT_FOUND: " + MISSING,
    ),
    "too much memory": (
        "def run(crm):\n    return len(bytearray(80 * 1024 * 1024))\n",
        "FUNCTION_OUT_OF_MEMORY",
        "it needs more than the 64 MB of a run",
    ),
    "memory eaten in bites": (
        "def run(crm):\n    kept = []\n    while True:\n        kept.append('x' * 1_000)\n        kept.append({})\n",
        "FUNCTION_OUT_OF_MEMORY",
        "it needs more than the 64 MB of a run",
    ),
    "too much output": (
        "def run(crm):\n    return 'x' * 10_001\n",
        "FUNCTION_OUTPUT_TOO_LARGE",
        "its output is 10,001 bytes long, 10,000 are allowed",
    ),
    "its end by a signal": (
        "import os\ndef run(crm):\n    os.kill(os.getpid(), 9)\n",
        "FUNCTION_KILLED",
        "its process ended by signal SIGKILL before it answered",
    ),
    "an exit without a word": (
        "import os\ndef run(crm):\n    os._exit(7)\n",
        "FUNCTION_KILLED",
        "its process ended with exit status 7 before it answered",
    ),
    "a further process": (
        "import subprocess\ndef run(crm):\n    subprocess.Popen(['sleep', '60'])\n",
        "FUNCTION_FAILED",
        "PermissionError: a function may not start processes",
    ),
    "a fork": (
        "import os\ndef run(crm):\n    os.fork()\n",
        "FUNCTION_FAILED",
        "PermissionError: a function may not start processes",
    ),
    "a file without end": (
        "import tempfile\ndef run(crm):\n    with tempfile.TemporaryFile() as f:\n        f.write(b'x' * 9_000_000)\n",
        "FUNCTION_FAILED",
        "OSError: [Errno 27] File too large",
    ),
}


@pytest.mark.parametrize(("source", "code", "reason"), ENDINGS.values(), ids=ENDINGS)
def test_every_bad_end_has_a_code_and_says_what_it_was(
    functions: Functions, source: str, code: str, reason: str
) -> None:
    functions.write("made", source)
    details = assert_refused(functions.execute("made"), 400, code)
    assert (details["api_name"], details["reason"]) == ("made", reason)
    if reason.startswith("KeyError"):
        assert (details["line"], details["userMessage"]) == (3, ["so far"])


def test_the_largest_allowed_output_is_given(functions: Functions) -> None:
    assert functions.output("def run(crm):\n    return 'é' * 5_000\n") == "é" * 5_000


def test_of_what_a_function_prints_the_first_hundred_lines_are_given(functions: Functions) -> None:
    functions.write("made", "def run(crm):\n    for n in range(500): print(n, 'x' * 2_000)\n    print('end', end='')")
    messages = functions.execute("made").json()["details"]["userMessage"]
    assert len(messages) == 100
    assert messages[99].startswith("99 x")
    assert {len(each) for each in messages} == {1_000}


def test_a_function_sees_nothing_of_the_environment_of_the_api(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_OPERATOR", "x")
    seen = functions.output("import os\ndef run(crm):\n    return dict(os.environ)\n")
    assert "SECRET_OF_THE_OPERATOR" not in seen


def test_functions_share_modules_of_their_folder(functions: Functions) -> None:
    functions.write("_words", "def greet(name):\n    return f'Hello {name}'\n")
    assert (
        functions.output("import _words\ndef run(crm, name):\n    return _words.greet(name)\n", name="A") == "Hello A"
    )


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with functions_in(tmp_path / "functions", seconds_max=6) as functions:
        functions.write("waits", WRITE_PID_AND_WAIT)
        answer = functions.execute("waits", mark=str(tmp_path / "mark"))
        details = assert_refused(answer, 400, "FUNCTION_TIMED_OUT")
        assert details["reason"] == "it did not end within 6 s"
        assert not is_alive(int((tmp_path / "mark").read_text(encoding="ascii")))


def test_more_at_once_than_allowed_are_refused_and_other_calls_go_on(functions: Functions, tmp_path: Path) -> None:
    functions.write("waits", WRITE_PID_AND_WAIT)
    answers: list[httpx.Response] = []
    marks = [tmp_path / "1", tmp_path / "2"]
    threads = [run_beside(functions, mark, answers.append) for mark in marks]
    for mark in marks:
        pid_in(mark)
    assert_refused(functions.execute("echo"), 429, "TOO_MANY_REQUESTS")
    assert functions.caller.get("org").status_code == 200
    for mark, thread in zip(marks, threads, strict=True):
        mark.with_suffix(".go").touch()
        thread.join(60)
    assert [answer.json()["details"]["output"] for answer in answers] == ["went on", "went on"]
    assert functions.execute("echo").status_code == 200


def test_a_killed_run_is_told_and_gives_its_place_back(functions: Functions, tmp_path: Path) -> None:
    functions.write("waits", WRITE_PID_AND_WAIT)
    for number in range(3):  # one more than may run at once
        answers: list[httpx.Response] = []
        thread = run_beside(functions, tmp_path / str(number), answers.append)
        os.kill(pid_in(tmp_path / str(number)), signal.SIGKILL)
        thread.join(60)
        assert_refused(answers[0], 400, "FUNCTION_KILLED")


def test_runs_end_with_the_api_that_is_stopped(tmp_path: Path) -> None:
    with functions_in(tmp_path / "functions") as functions:
        functions.write("waits", WRITE_PID_AND_WAIT)
        thread = run_beside(functions, tmp_path / "mark", lambda _: None)
        pid = pid_in(tmp_path / "mark")
    thread.join(60)
    assert not is_alive(pid)


def test_runs_end_with_the_api_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "waits.py").write_text(dedent(WRITE_PID_AND_WAIT), encoding="utf-8")
    seed = [{"name": "Z", "users": [{"email": "ann@z.example", "access_token": "1000.ann"}]}]
    (tmp_path / "seed.json").write_text(json.dumps(seed), encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    arguments = ["-m", "farebox.cli", "crm", "--port", url.rpartition(":")[2], "--data", str(tmp_path / "data")]
    arguments += ["--seed-file", str(tmp_path / "seed.json"), "--functions", str(folder)]
    api = ChildProcess("crm", arguments, health_url=f"{url}/crm/v8/org", health_status=401, log=tmp_path / "crm.log")
    api.start()
    try:
        thread = threading.Thread(target=_call_until_cut_off, args=(url, tmp_path / "mark"))
        thread.start()
        pid = pid_in(tmp_path / "mark")
    finally:
        api.kill()
    thread.join(60)
    until(lambda: not is_alive(pid), what="the run is gone")


def _call_until_cut_off(url: str, mark: Path) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(
            f"{url}/crm/v8/functions/waits/actions/execute",
            json={"arguments": {"mark": str(mark)}},
            headers={"Authorization": "Zoho-oauthtoken 1000.ann"},
            timeout=120,
        )


def run_beside(functions: Functions, mark: Path, done: Callable[[httpx.Response], None]) -> threading.Thread:
    def call() -> None:
        try:
            done(
                httpx.post(
                    f"{functions.crm.url}/crm/v8/functions/waits/actions/execute",
                    json={"arguments": {"mark": str(mark)}},
                    headers={"Authorization": functions.caller.http.headers["Authorization"]},
                    timeout=120,
                )
            )
        except httpx.TransportError:
            return  # cut off, as some tests do

    thread = threading.Thread(target=call)
    thread.start()
    return thread


def pid_in(mark: Path) -> int:
    until(mark.exists, what=f"the function wrote {mark}")
    return int(mark.read_text(encoding="ascii"))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


TASKS = """
    from farebox.crm.function_tasks import TaskError

    def run(crm):
        said = []
        made = crm.createRecord("Leads", {"Last_Name": "Tasks", "Email": "tasks@z.example"}, {"trigger": []})
        id = made["id"]
        said.append(crm.getRecordById("Leads", id)["Last_Name"])
        crm.updateRecord("Leads", id, {"Last_Name": "Changed"})
        same = crm.upsertRecord("Leads", {"Last_Name": "Upserted", "Email": "tasks@z.example"},
                                {"duplicate_check_fields": ["Email"]})
        said.append(same["id"] == id)
        found = crm.searchRecords("Leads", "(Email:equals:tasks@z.example)")
        said.append([each["Last_Name"] for each in found])
        said.append(len(crm.getRecords("Leads", 1, 1, {"fields": "Last_Name"})))
        said.append(crm.searchRecords("Leads", "(Email:equals:nobody@z.example)"))
        query = {"select_query": "select Last_Name from Leads where id = " + id}
        import json
        answer = crm.invokeurl("/crm/v8/coql", "POST", json.dumps(query))
        said.append([answer["responseCode"], json.loads(answer["responseText"])["data"][0]["Last_Name"]])
        try:
            crm.getRecordById("Leads", 1)
        except TaskError as refused:
            said.append([refused.task, refused.status, refused.code])
        return said
"""


def test_the_integration_tasks_do_what_their_names_say(functions: Functions) -> None:
    assert functions.output(TASKS) == [
        "Tasks",
        True,
        ["Upserted"],
        1,
        [],
        [200, "Upserted"],
        ["getRecordById", 400, "INVALID_DATA"],
    ]


def test_a_function_sees_the_callers_organisation_only(functions: Functions) -> None:
    (record,) = functions.caller.insert("Leads", {"Last_Name": "Ours"})
    functions.write("made", "def run(crm, id):\n    return crm.getRecordById('Leads', id)['Last_Name']\n")
    assert functions.execute("made", id=record).json()["details"]["output"] == "Ours"
    with functions.crm.caller(functions.crm.create_organisation(name="Others")) as other:
        refused = assert_refused(functions.execute("made", other, id=record), 400, "FUNCTION_FAILED")
    assert "getRecordById: 400 INVALID_DATA" in refused["reason"]


def test_bigin_has_no_functions(functions: Functions) -> None:
    made = functions.crm.create_organisation(name="B", product="bigin", edition="express")
    with functions.crm.caller(made, base="/bigin/v2") as caller:
        assert_refused(functions.execute("echo", caller), 404, "INVALID_URL_PATTERN")


def test_tasks_go_where_the_operator_says_and_name_function_and_task(tmp_path: Path) -> None:
    body = json.dumps({"data": [{"details": {"id": "1"}}]}).encode()
    with (
        StubUpstream() as gateway,
        functions_in(tmp_path / "functions", gateway_url=f"{gateway.url}/in", task_header="X-Task") as functions,
    ):
        gateway.answer("/in/crm/v8/Leads", Behaviour(body=body, fields=JSON))
        source = """
            def run(crm, url):
                crm.createRecord("Leads", {"Last_Name": "A"})
                crm.invokeurl(url + "/crm/v8/org", headers={"x-task": "forged", "X-More": "1"})
        """
        assert functions.output(source, url=functions.crm.url) is None
        created, invoked = gateway.wait_for(2)
    token = functions.caller.http.headers["Authorization"]
    fields = [(each.target, each.fields["x-farebox-function"], each.fields["x-task"]) for each in (created, invoked)]
    assert fields == [("/in/crm/v8/Leads", "made", "createRecord"), ("/in/crm/v8/org", "made", "invokeurl")]
    assert {created.fields["authorization"], invoked.fields["authorization"]} == {token}
    assert invoked.fields["x-more"] == "1"


def test_invokeurl_gives_no_other_host_token_or_names_and_goes_where_callbacks_may(functions: Functions) -> None:
    source = """
        def run(crm, url):
            from farebox.crm.function_tasks import TaskError
            found = crm.invokeurl(url + "/x", "POST", {"a": "b c"}, {"X-Own": "1"})
            try:
                crm.invokeurl("https://10.0.0.1/")
            except TaskError as refused:
                return [found["responseCode"], found["responseHeader"]["x-back"], refused.code]
    """
    with StubUpstream() as other:
        other.answer("/x", Behaviour(status=418, fields=(("X-Back", "2"),)))
        assert functions.output(source, url=other.url) == [418, "2", "URL_REFUSED"]
        (received,) = other.wait_for(1)
    assert received.body == b"a=b+c"
    assert received.fields["x-own"] == "1"
    assert not {"authorization", "x-farebox-function", "x-farebox-task"} & set(received.fields)


def test_a_gateway_that_does_not_answer_is_said(tmp_path: Path) -> None:
    gateway = f"http://127.0.0.1:{free_port()}"
    with functions_in(tmp_path / "functions", gateway_url=gateway) as functions:
        functions.write("made", "def run(crm):\n    crm.getRecords('Leads')\n")
        refused = assert_refused(functions.execute("made"), 400, "FUNCTION_FAILED")
    assert f"getRecords: 0 NO_ANSWER: no answer from {gateway}" in refused["reason"]
