"""What /api/v1 answers, typed for OpenAPI. Amounts are integers of millicredits; times RFC 3339 in UTC."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Organisation(BaseModel):
    """An org that the caller may see."""

    id: str
    name: str
    time_zone: str
    accounts: list[AccountName]


class AccountName(BaseModel):
    """An account of an org: a pool of a product."""

    product: str
    pool: str
    card: str
    plan: str


class Formula(BaseModel):
    """total = min(base + users x per_user + addon, cap). Millicredits but `users`, which counts purchased licences."""

    plan: str
    base: int
    users: int
    per_user: int
    addon: int
    cap: int | None


class ReturnOf(BaseModel):
    """Credits that come back."""

    at: str
    millicredits: int


class Allowance(BaseModel):
    """An account now, straight from quota. total = used + held + unused. Millicredits."""

    org: str
    product: str
    pool: str
    at: str = Field(description="the quota store's time of this reading")
    total: int
    used: int
    held: int = Field(description="lent to gateways for calls in flight")
    unused: int = Field(description="negative when more is used than a lowered total allows")
    unaccounted: int = Field(description="part of used: lent to a gateway that has not reported since")
    formula: Formula
    next_return: ReturnOf | None
    returns_within_hour: int
    returns_by_hour: list[int] = Field(description="what returns in each hour from `at`; the last lasts one second")
    sentence: str
    shadow: bool = Field(description="shadow mode: calls are judged and recorded, none is refused for want of credits")
    quota_lost_at: str | None = Field(description="since when quota cannot be read; the figures are the last that were")


class UsageLineOf(BaseModel):
    """One value of the dimension; empty for calls that have none."""

    value: str
    name: str
    calls: int
    millicredits: int
    refusals: int


class Usage(BaseModel):
    """What was spent in the window, from usage: complete up to `as_of`."""

    org: str
    product: str
    pool: str
    by: str
    at: str = Field(description="the window is the 24 hours that end here")
    as_of: str | None
    problem: str = Field(description="why part of the journal cannot be loaded; empty when all is well")
    calls: int
    millicredits: int
    refusals: int
    unleased_millicredits: int = Field(description="part of millicredits: let through while quota was out of reach")
    would_have_been_refused: int = Field(description="part of calls: let through in shadow mode only")
    would_have_been_refused_millicredits: int = Field(description="what these cost, a part of millicredits")
    organisation_less_sum: int | None = Field(
        description="used of the organisation less `millicredits`; null while quota cannot be read"
    )
    lines: list[UsageLineOf]
    others_millicredits: int = Field(description="credits of values beyond the lines given")


class Problem(BaseModel):
    """RFC 9457, as application/problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
