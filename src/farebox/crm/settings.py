"""What the operator decides about a running CRM API, as one frozen value that every call carries."""

from dataclasses import dataclass


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
    `local_callbacks`: callback and notification URLs may lead to this machine, also by http.
    """

    public_url: str
    local_callbacks: bool = False
    token_limits: TokenLimits | None = None

    def __post_init__(self) -> None:
        """Paths are appended to the URL, so it ends without a slash."""
        object.__setattr__(self, "public_url", self.public_url.rstrip("/"))
