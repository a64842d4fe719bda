"""Functions: `GET` and `POST /functions/{api_name}/actions/execute` run a Python file of the configured folder.

The file `{api_name}.py` has `def run(crm, ...)`: `crm` are the integration tasks (function_tasks.py), the rest are the
arguments by name. What it returns is the output. Names that begin with `_` are no functions: modules for others.
"""

import logging
import re
import zlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from farebox.crm.call import Answer, Call
from farebox.crm.errors import ApiError, invalid_param, mandatory_not_found, unreadable_body
from farebox.crm.function_runs import BusyError, Ending, Outcome
from farebox.crm.route import route
from farebox.crm.settings import FunctionSettings

logger = logging.getLogger("farebox.crm")

API_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
SERIAL_FROM: Final = 500_000_000_000
"""Functions lie in no store: their ids are a checksum of the name, in the upper half of an organisation's numbers."""
REFUSALS: Final = {
    Ending.FAILED: ("FUNCTION_FAILED", "the function ended with an error"),
    Ending.TIMED_OUT: ("FUNCTION_TIMED_OUT", "the function took too long and was ended"),
    Ending.OUT_OF_MEMORY: ("FUNCTION_OUT_OF_MEMORY", "the function needs more memory than a run has"),
    Ending.OUTPUT_TOO_LARGE: ("FUNCTION_OUTPUT_TOO_LARGE", "the function returned more than a run may"),
    Ending.KILLED: ("FUNCTION_KILLED", "the function's process ended before it answered"),
}


async def execute(call: Call, api_name: str) -> Answer:
    """Run it in a process of its own while other calls go on; 400 with a code of REFUSALS when nothing came of it."""
    settings = call.settings.functions
    path = None if settings is None else _find(settings.folder, api_name)
    if settings is None or path is None or call.runs is None:
        raise ApiError(404, "RESOURCE_NOT_FOUND", "there is no such function", {"api_name": api_name})
    if call.params.get("auth_type", "oauth") != "oauth":
        raise invalid_param("auth_type", supported_values=["oauth"])
    order = _order(call, settings, path, _arguments(call))
    try:
        outcome = await call.runs.run(order)
    except BusyError as busy:
        details = {"limit": settings.at_once}
        raise ApiError(429, "TOO_MANY_REQUESTS", "too many functions run at once", details) from busy
    function_id = str(call.organisation.full_id(SERIAL_FROM + zlib.crc32(api_name.encode())))
    return _answer(outcome, api_name=api_name, function_id=function_id)


def _find(folder: Path, api_name: str) -> Path | None:
    """The file of a function; the folder is looked into at every call, so a new file counts at once."""
    path = folder.absolute() / f"{api_name}.py"
    return path if API_NAME.fullmatch(api_name) and path.is_file() else None


def _order(call: Call, settings: FunctionSettings, path: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """What function_process does, and the keyword arguments of its IntegrationTasks."""
    base_url = (settings.gateway_url or call.settings.public_url).rstrip("/")
    return {
        "name": path.stem,
        "path": str(path),
        "arguments": arguments,
        "memory_mb": settings.memory_mb,
        "output_bytes_max": settings.output_bytes_max,
        "tasks": {
            "base_url": base_url,
            "api_path": f"/{call.organisation.product}/{call.version}",
            "own_urls": [base_url, call.settings.public_url],
            "authorization": call.headers["authorization"],
            "function_header": settings.function_header,
            "task_header": settings.task_header,
            "seconds_max": settings.seconds_max,
            "local_urls": call.settings.local_callbacks,
        },
    }


def _arguments(call: Call) -> dict[str, Any]:
    """`arguments`: a JSON object in the query or a form, or a key of a JSON body; the body's count. None are none."""
    given = _body_arguments(call)
    if given is None:
        given = call.params.get("arguments")
    if given is None:
        return {}
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except (msgspec.DecodeError, RecursionError) as error:
            raise invalid_param("arguments", expected_data_type="jsonobject") from error
    if not isinstance(given, dict):
        raise invalid_param("arguments", expected_data_type="jsonobject")
    return given


def _body_arguments(call: Call) -> object:
    if call.uploads:
        parts = [each for each in call.uploads if each.name == "arguments"]
        return None if not parts else parts[-1].text if parts[-1].file is None else _text(parts[-1].file.read())
    if not call.body:
        return None
    if call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = parse_qs(_text(call.body), keep_blank_values=True, max_num_fields=50)
        if "arguments" in form:
            return form["arguments"][-1]
    content = call.json_object()
    if "arguments" not in content:
        raise mandatory_not_found(api_name="arguments", json_path="$.arguments")
    return content["arguments"]


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise unreadable_body() from error


def _answer(outcome: Outcome, *, api_name: str, function_id: str) -> Answer:
    if outcome.ending is Ending.DONE:
        details: dict[str, Any] = {"output": outcome.output, "output_type": "string", "id": function_id}
        if outcome.messages:
            details["userMessage"] = outcome.messages
        payload = {"code": "success", "details": details, "message": "function executed successfully"}
        return Answer(status=200, payload=payload)
    if outcome.ending is Ending.WRONG_ARGUMENTS:
        raise invalid_param("arguments", reason=outcome.reason)
    code, message = REFUSALS[outcome.ending]
    logger.warning("function %s: %s: %s\n%s", api_name, code, outcome.reason, outcome.trace)
    details = {"api_name": api_name, "id": function_id, "reason": outcome.reason, "userMessage": outcome.messages}
    if outcome.line is not None:
        details["line"] = outcome.line
    raise ApiError(400, code, f"{message}: {outcome.reason}", details)


PATH: Final = "functions/{api_name}/actions/execute"
ROUTES = (
    route("GET", PATH, "functions.execute read", execute),
    route("POST", PATH, "functions.execute create", execute, takes_form=True),
)
