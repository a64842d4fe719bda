"""What the operator decides about a running CRM API, as one frozen value that every call carries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`public_url`: where clients reach the API; the `api_domain` of token answers.

    `local_callbacks`: callback and notification URLs may lead to this machine, also by http.
    """

    public_url: str
    local_callbacks: bool = False

    def __post_init__(self) -> None:
        """Paths are appended to the URL, so it ends without a slash."""
        object.__setattr__(self, "public_url", self.public_url.rstrip("/"))
