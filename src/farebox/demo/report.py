"""What a person sees of a demo under way: one row per step."""

from __future__ import annotations

from collections.abc import Iterable

from farebox.demo.cast import Organisation
from farebox.demo.programs import Done
from farebox.demo.seen import words
from farebox.demo.strategies import NAIVE, PERSON, THRIFTY, Spent
from farebox.domain.credits import text_of

STEP_HEAD = f"{'organisation':14} {'user':16} {'what the program did':32} {'calls':>5} {'credits':>8}  what it saw"


def step_line(done: Done) -> str:
    """One step as a row under STEP_HEAD."""
    step = done.step
    credits_text = "-" if step.charged is None else text_of(step.charged)
    return (
        f"{done.organisation:14} {done.person:16} {step.name:32} {len(step.seen):>5,} {credits_text:>8}  "
        f"{words(step.seen)}"
    )


def spent_lines(organisation: Organisation, spent: Iterable[Spent]) -> str:
    """What the same job cost both programs, and where the dashboard shows it."""
    naive, thrifty = (f"{organisation.people[PERSON[name]].name}'s {name}" for name in (NAIVE, THRIFTY))
    head = f"One job done twice at {organisation.name}, by {naive} and by {thrifty}:"
    return "\n".join([head, *(f"  {each}" for each in spent)])
