"""Credits are exact: integers of one thousandth, so that 0.25 credit is a number and not a rounding.

Every amount named `..._millicredits` or typed `Millicredits` counts thousandths of a credit.
"""

from __future__ import annotations

from typing import Final, NewType

Millicredits = NewType("Millicredits", int)

MILLICREDITS_PER_CREDIT: Final = 1_000


def credits_of(whole: int) -> Millicredits:
    """Whole credits as millicredits.

    >>> credits_of(5)
    5000
    """
    return Millicredits(whole * MILLICREDITS_PER_CREDIT)


def text_of(amount: int) -> str:
    """An amount of millicredits as people read it: thousands grouped, a fraction only where there is one.

    >>> text_of(12_480_000), text_of(250), text_of(-1_500)
    ('12,480', '0.25', '-1.5')
    """
    sign = "-" if amount < 0 else ""
    whole, thousandths = divmod(abs(amount), MILLICREDITS_PER_CREDIT)
    fraction = f".{thousandths:03d}".rstrip("0") if thousandths else ""
    return f"{sign}{whole:,}{fraction}"
