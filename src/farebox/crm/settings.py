"""What the operator decides about a running CRM API, as one frozen value that every call carries."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSettings:
    """Where functions lie and what one run of them may take. Defaults: Zoho's limits of functions, 1 min and 10 MB.

    `folder` holds a Python file per function. `gateway_url`: where integration tasks call the API; None: its public
    URL. Each such call says in `function_header` and `task_header` which function and task it is of. `memory_mb` counts
    what a run takes beyond Python itself; `output_bytes_max` bounds its output and every file it writes.
    """

    folder: Path
    gateway_url: str | None = None
    function_header: str = "X-Farebox-Function"
    task_header: str = "X-Farebox-Task"
    seconds_max: float = 60.0
    memory_mb: int = 128
    output_bytes_max: int = 10 * 1024 * 1024
    at_once: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `count` in any `seconds`; the one that is asked for exactly `seconds` after the first is within it."""

    count: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """How often tokens may be asked for. The defaults are the original's: Zoho CRM v8 token-validity.

    `access_tokens` per refresh token, `refresh_tokens` per client and user, `codes` per client.
    """

    access_tokens: Rate = Rate(count=10, seconds=600)
    refresh_tokens: Rate = Rate(count=5, seconds=60)
    codes: Rate = Rate(count=10, seconds=600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`public_url`: where clients reach the API; the `api_domain` of token answers.

    `token_limits`: how often tokens may be asked for; None: as often as wanted.
    `local_callbacks`: callback and notification URLs may lead to this machine, also by http. `functions` None: there
    are none.
    """

    public_url: str
    local_callbacks: bool = False
    token_limits: TokenLimits | None = None
    functions: FunctionSettings | None = None

    def __post_init__(self) -> None:
        """Paths are appended to the URL, so it ends without a slash."""
        object.__setattr__(self, "public_url", self.public_url.rstrip("/"))
