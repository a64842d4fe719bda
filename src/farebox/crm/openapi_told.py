"""What /openapi.json says beyond the table of paths, as data: parameters, headers, bodies, shapes of refusals."""

from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_FLAG: Final[Schema] = {"type": "string", "enum": ["true", "false", "both"]}
_COUNTED: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 200}

PARAMS: Final[dict[str, Schema]] = {
    "fields": {"type": "string", "examples": ["Last_Name,Email"]},
    "ids": {"type": "string", "examples": ["5725767000001000001"]},
    "page": {"type": "integer", "minimum": 1},
    "per_page": _COUNTED,
    "page_token": _TEXT,
    "sort_by": {"type": "string", "enum": ["id", "Created_Time", "Modified_Time"]},
    "sort_order": {"type": "string", "enum": ["asc", "desc"]},
    "converted": _FLAG,
    "approved": _FLAG,
    "cvid": _TEXT,
    "criteria": {"type": "string", "examples": ["(Last_Name:starts_with:A)"]},
    "email": _TEXT,
    "phone": _TEXT,
    "word": _TEXT,
    "type": _TEXT,
    "auth_type": {"type": "string", "enum": ["oauth"]},
    "arguments": {"type": "string", "examples": ['{"lead_id": "5725767000001000001"}']},
    "module": {"type": "string", "examples": ["Contacts"]},
    "channel_ids": {"type": "string", "examples": ["1000000068001"]},
    "channel_id": _TEXT,
    "wf_trigger": {"type": "boolean"},
}
"""Query parameters by name: one means the same wherever it is taken."""

HEADERS: Final[dict[str, Schema]] = {
    "If-Modified-Since": {"type": "string", "examples": ["2026-01-01T00:00:00+00:00"]},
    "If-Unmodified-Since": {"type": "string", "examples": ["2026-01-01T00:00:00+00:00"]},
    "feature": {"type": "string", "enum": ["bulk-write"]},
    "X-CRM-ORG": _TEXT,
}

_RECORD: Final[Schema] = {"type": "object", "additionalProperties": True}
_TRIGGER: Final[Schema] = {"type": "array", "items": _TEXT}


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Schema, most: int) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


_WATCH: Final = _object(
    "channel_id",
    "events",
    "notify_url",
    channel_id={"type": ["string", "integer"]},
    events=_list({"type": "string", "examples": ["Contacts.create"]}, 100),
    notify_url={"type": "string", "examples": ["https://example.com/notified"]},
    token={"type": "string", "maxLength": 50},
    channel_expiry={"type": "string"},
    return_affected_field_values={"type": "boolean"},
    notification_condition={"type": "array", "items": {"type": "object"}},
)
_CALLBACK: Final = _object("url", "method", url=_TEXT, method={"type": "string", "enum": ["post"]})

BODIES: Final[dict[str, Schema]] = {
    "records": _object(
        "data",
        data=_list(_RECORD, 100),
        trigger=_TRIGGER,
        duplicate_check_fields={"type": "array", "items": _TEXT},
    ),
    "coql": _object(
        "select_query",
        select_query={"type": "string", "examples": ["select Last_Name from Contacts where Last_Name is not null"]},
        include_meta={"type": "array", "items": {"type": "string", "enum": ["fields"]}},
    ),
    "arguments": {"type": "object", "required": ["arguments"], "properties": {"arguments": {"type": "object"}}},
    "composite": _object(
        "__composite_requests",
        __composite_requests=_list(
            _object(
                "sub_request_id",
                "method",
                "uri",
                sub_request_id={"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_]*$"},
                method={"type": "string", "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
                uri={"type": "string", "examples": ["/crm/v8/Contacts?fields=Last_Name"]},
                params=_RECORD,
                headers=_RECORD,
                body=_RECORD,
            ),
            5,
        ),
        rollback_on_fail={"type": "boolean"},
        parallel_execution={"type": "boolean"},
    ),
    "watch": _object("watch", watch=_list(_WATCH, 100)),
    "bulk_read": _object(
        query=_object(
            module=_object("api_name", api_name={"type": "string", "examples": ["Contacts"]}),
            fields={"type": "array", "items": _TEXT},
            criteria={"type": "object"},
            page={"type": "integer"},
            page_token=_TEXT,
        ),
        callback=_CALLBACK,
        file_type={"type": "string", "enum": ["csv"]},
    ),
    "bulk_write": _object(
        "operation",
        "resource",
        operation={"type": "string", "enum": ["insert", "update", "upsert"]},
        ignore_empty={"type": "boolean"},
        callback=_CALLBACK,
        resource=_list(
            _object(
                "type",
                "module",
                "file_id",
                type={"type": "string", "enum": ["data"]},
                module=_object("api_name", api_name=_TEXT),
                file_id=_TEXT,
                find_by=_TEXT,
                field_mappings={"type": "array", "items": {"type": "object"}},
            ),
            5,
        ),
    ),
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Refusal": _object(
        "code",
        "details",
        "message",
        "status",
        code=_TEXT,
        details={"type": "object"},
        message=_TEXT,
        status={"type": "string", "enum": ["error"]},
    ),
    "Results": {
        "type": "object",
        "description": "A result per record, channel or sub-request, each like a Refusal or with status `success`.",
        "minProperties": 1,
        "additionalProperties": True,
        "anyOf": [
            {"required": [name], "properties": {name: {"type": "array", "items": {"type": "object"}}}}
            for name in ("data", "watch", "__composite_requests", "tags", "modules", "fields", "custom_views", "users")
        ]
        + [{"required": ["ERROR_CODE", "ERROR_MESSAGE"]}],
    },
    "Upload": _object("file", file={"type": "string", "format": "binary"}),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a line of the table takes; `body` is a name in BODIES."""

    params: tuple[str, ...] = ()
    body: str | None = None
    headers: tuple[str, ...] = ()


_PAGES: Final = ("page", "per_page")
_FOUND: Final = ("criteria", "email", "phone", "word", "converted", "approved")

TOLD: Final[dict[tuple[str, str], Told]] = {
    ("GET", "{module}"): Told(
        ("fields", *_PAGES, "page_token", "sort_by", "sort_order", "converted", "ids", "cvid"),
        headers=("If-Modified-Since",),
    ),
    ("GET", "{module}/{record_id}"): Told(("fields",), headers=("If-Modified-Since",)),
    ("GET", "{module}/search"): Told(("fields", *_PAGES, *_FOUND)),
    ("GET", "{module}/actions/count"): Told(("cvid", *_FOUND)),
    ("GET", "{module}/deleted"): Told(("type", *_PAGES), headers=("If-Modified-Since",)),
    ("GET", "functions/{api_name}/actions/execute"): Told(("auth_type", "arguments")),
    ("POST", "functions/{api_name}/actions/execute"): Told(("auth_type", "arguments"), body="arguments"),
    ("POST", "{module}"): Told(body="records"),
    ("PUT", "{module}"): Told(body="records", headers=("If-Unmodified-Since",)),
    ("PUT", "{module}/{record_id}"): Told(body="records", headers=("If-Unmodified-Since",)),
    ("POST", "{module}/upsert"): Told(body="records"),
    ("DELETE", "{module}"): Told(("ids", "wf_trigger")),
    ("DELETE", "{module}/{record_id}"): Told(("wf_trigger",)),
    ("POST", "coql"): Told(body="coql"),
    ("POST", "__composite_requests"): Told(body="composite"),
    ("POST", "actions/watch"): Told(body="watch"),
    ("PUT", "actions/watch"): Told(body="watch"),
    ("PATCH", "actions/watch"): Told(body="watch"),
    ("GET", "actions/watch"): Told((*_PAGES, "channel_id", "module")),
    ("DELETE", "actions/watch"): Told(("channel_ids",)),
    ("POST", "bulk/read"): Told(body="bulk_read"),
    ("POST", "bulk/write"): Told(body="bulk_write"),
    ("POST", "upload"): Told(headers=("feature", "X-CRM-ORG")),
    ("GET", "users"): Told(("type", "ids", *_PAGES)),
    ("GET", "settings/fields"): Told(("module", "type")),
    ("GET", "settings/fields/{field_id}"): Told(("module",)),
}
"""By method and pattern of the line of the table."""
