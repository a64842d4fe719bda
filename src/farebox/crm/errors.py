"""Every refusal of the API as one exception: HTTP status, code, message and details of Zoho's envelope.

Source: Zoho CRM v8 status codes and the error schemas of the official OpenAPI files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)  # not frozen: Python itself sets an exception's traceback
class ApiError(Exception):
    """A refusal as the envelope says it; raised anywhere, turned into an answer at one place.

    Raised for a whole request it becomes the body; raised for one record it becomes that record's
    element in `data`.
    """

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The code and the message, for logs."""
        return f"{self.code}: {self.message} {dict(self.details)}"

    def envelope(self) -> dict[str, Any]:
        """`{"code", "details", "message", "status": "error"}`."""
        return {
            "code": self.code,
            "details": dict(self.details),
            "message": self.message,
            "status": "error",
        }


class StoreError(Exception):
    """The store cannot be opened or a provisioning request makes no sense; the text says what to do."""


def invalid_url_pattern() -> ApiError:
    """No such path (404)."""
    return ApiError(404, "INVALID_URL_PATTERN", "Please check if the URL trying to access is a correct one")


def invalid_method(allowed: frozenset[str]) -> ApiError:
    """The path exists, the method does not; Zoho answers 400 here, not 405."""
    return ApiError(
        400,
        "INVALID_REQUEST_METHOD",
        "The http request method type is not a valid one",
        headers={"allow": ", ".join(sorted(allowed))},
    )


def authentication_failed() -> ApiError:
    """No credential came with the request."""
    return ApiError(401, "AUTHENTICATION_FAILURE", "Authentication failed")


def invalid_token() -> ApiError:
    """The access token is unknown, expired or revoked."""
    return ApiError(401, "INVALID_TOKEN", "invalid oauth token")


def scope_mismatch() -> ApiError:
    """The token is good, but not for this."""
    return ApiError(401, "OAUTH_SCOPE_MISMATCH", "invalid oauth scope to access this URL")


def no_permission(*permissions: str) -> ApiError:
    """The user or the organisation may not do this."""
    return ApiError(403, "NO_PERMISSION", "permission denied", {"permissions": list(permissions)})


def invalid_module(*, resource_path_index: int | None = None) -> ApiError:
    """The module's name is wrong; the index counts path parts after the version, from 0."""
    details: dict[str, Any] = {}
    if resource_path_index is not None:
        details["resource_path_index"] = resource_path_index
    return ApiError(400, "INVALID_MODULE", "the module name given seems to be invalid", details)


def invalid_module_param() -> ApiError:
    """The `module` parameter names no module."""
    details = {"param_name": "module", "param": "module"}
    return ApiError(400, "INVALID_MODULE", "the module name given seems to be invalid", details)


def invalid_path_id(resource_path_index: int) -> ApiError:
    """The id in the path names nothing."""
    details = {"resource_path_index": resource_path_index}
    return ApiError(400, "INVALID_DATA", "the id given seems to be invalid", details)


def invalid_body_id(record_id: object) -> ApiError:
    """The id in the body names nothing."""
    return ApiError(400, "INVALID_DATA", "the id given seems to be invalid", {"id": str(record_id)})


def not_deleted(record_id: object) -> ApiError:
    """One of the ids to delete names nothing."""
    return ApiError(400, "INVALID_DATA", "record not deleted", {"id": str(record_id)})


def mandatory_not_found(*, api_name: str, json_path: str) -> ApiError:
    """A mandatory field is absent, null or empty."""
    details = {"api_name": api_name, "json_path": json_path}
    return ApiError(400, "MANDATORY_NOT_FOUND", "required field not found", details)


def invalid_data(*, api_name: str, json_path: str, **why: object) -> ApiError:
    """A value is wrong; `why` is the variant: expected_data_type, maximum_length, supported_values..."""
    return ApiError(400, "INVALID_DATA", "invalid data", {**why, "api_name": api_name, "json_path": json_path})


def invalid_related_id(*, api_name: str, json_path: str, related_id: int) -> ApiError:
    """A lookup points at no record, an owner at no user."""
    details = {"id": str(related_id), "api_name": api_name, "json_path": json_path}
    return ApiError(400, "INVALID_DATA", "the id given seems to be invalid", details)


def param_missing(name: str) -> ApiError:
    """A mandatory query parameter is absent."""
    details = {"param_name": name, "param": name}
    message = "One of the expected parameter is missing"
    return ApiError(400, "REQUIRED_PARAM_MISSING", message, details)


def invalid_param(name: str, **why: object) -> ApiError:
    """A query parameter has a value it cannot have."""
    return ApiError(400, "INVALID_DATA", "invalid data", {**why, "param_name": name, "param": name})


def ambiguous_params(*names: str) -> ApiError:
    """Two parameters that exclude each other."""
    due_to = [{"param_name": name, "param": name} for name in names]
    message = "Ambiguity while processing the request"
    return ApiError(400, "AMBIGUITY_DURING_PROCESSING", message, {"ambiguity_due_to": due_to})


def limit_exceeded(*, limit: int, param_name: str) -> ApiError:
    """More items in a parameter than allowed."""
    details = {"limit": limit, "param_name": param_name, "param": param_name}
    return ApiError(400, "LIMIT_EXCEEDED", "the limit has been exceeded", details)


def unreadable_body() -> ApiError:
    """The body is no JSON object."""
    return ApiError(400, "INVALID_DATA", "body", {"expected_data_type": "jsonobject"})


def already_modified() -> ApiError:
    """If-Unmodified-Since names an instant before the last change."""
    return ApiError(412, "ALREADY_MODIFIED", "the record has been modified since the given time")


def duplicate_data(
    *, api_name: str, json_path: str, record_id: int, owner: Mapping[str, Any], module: Mapping[str, Any]
) -> ApiError:
    """A unique field's value is another record's."""
    record = {"id": str(record_id), "Owner": dict(owner), "module": dict(module)}
    details = {
        "api_name": api_name,
        "json_path": json_path,
        "id": str(record_id),
        "duplicate_record": record,
    }
    return ApiError(400, "DUPLICATE_DATA", "duplicate data", details)
