"""How many bytes a path takes as a body, and what it says of more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from farebox.crm.errors import ApiError

FORM_BYTES_BESIDE: Final = 64 * 1024
"""Of a multipart body what is not the content of its files: boundaries, heads, fields."""


def _too_large(bytes_max: int) -> ApiError:
    details = {"maximum_length": bytes_max}
    return ApiError(413, "REQUEST_ENTITY_TOO_LARGE", "The request body is too large", details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The most bytes of a body, packed and unpacked; `refusal` is given that number."""

    bytes_max: int
    refusal: Callable[[int], ApiError] = _too_large

    def check(self, size: int) -> None:
        """Raise the refusal for a body of more bytes."""
        if size > self.bytes_max:
            raise self.refusal(self.bytes_max)


GENERAL: Final = Bound(bytes_max=25 * 1024 * 1024)
"""Of every path that says nothing else: 100 records of the longest texts with their subforms."""
OF_TOKENS: Final = Bound(bytes_max=64 * 1024)
"""Of the accounts server's paths, which know nobody before they have read the form."""
