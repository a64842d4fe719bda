"""What a person sees of a demo under way: one row per step."""

from __future__ import annotations

from farebox.demo.programs import Done
from farebox.demo.seen import words
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
