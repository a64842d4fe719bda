"""Who calls: an account is what pays, a principal is who spends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Account:
    """One total of credits: an org's pool of a product. CRM and Bigin of one org never mix."""

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
