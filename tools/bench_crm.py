"""What the reference CRM API takes over HTTP on loopback: a list of 200, an insert of 100, an org with its data."""

from __future__ import annotations

import time
from collections.abc import Callable

from farebox.testing.crm import running_crm

FIELDS = "Deal_Name,Account_Name,Contact_Name,Amount,Stage,Closing_Date,Owner,Created_Time"


def median_ms(call: Callable[[], object], *, times: int = 30) -> float:
    """The median of so many calls."""
    spans = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        spans.append(time.perf_counter() - started)
    return sorted(spans)[times // 2] * 1_000


def main() -> None:
    """Print three lines."""
    with running_crm() as crm:
        started = time.perf_counter()
        made = crm.create_organisation(users=10, sample_records=2_000)
        print(f"an organisation with 4 x 2,000 records: {time.perf_counter() - started:.2f} s")
        with crm.caller(made) as caller:
            print(f"list of 200: {median_ms(lambda: caller.get('Deals', fields=FIELDS).raise_for_status()):.1f} ms")
            hundred = [{"Last_Name": f"L{n}", "Email": f"l{n}@x.example"} for n in range(100)]
            print(f"insert of 100: {median_ms(lambda: caller.insert('Leads', *hundred)):.1f} ms")


if __name__ == "__main__":
    main()
