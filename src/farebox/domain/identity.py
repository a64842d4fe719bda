"""Who calls: an account is what pays, a principal is who spends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Account(NamedTuple):
    """One total of credits: an org's pool of a product. CRM and Bigin of one org never mix.

    A NamedTuple because every call looks several things up by it: hashed in C it costs 0.06 us, a dataclass 0.5.
    """

    org: str
    product: str
    pool: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a call, as identification found it. Empty strings where there is none.

    `user` and `app` are ids within the org; `function` and `task` name the function and its integration task.
    """

    org: str
    user: str = ""
    app: str = ""
    function: str = ""
    task: str = ""
