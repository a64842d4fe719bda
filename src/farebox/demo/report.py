"""What a person sees of a demo under way: one row per step."""

from __future__ import annotations

from farebox.demo.programs import Step

STEP_HEAD = f"{'organisation':14} {'user':16} {'what the program did':32} {'calls':>5} {'credits':>8}  what it saw"


def step_line(step: Step) -> str:
    """One step as a row under STEP_HEAD."""
    credits_text = step.credits if step.credits is not None else "-"
    return f"{step.organisation:14} {step.person:16} {step.name:32} {step.calls:>5,} {credits_text:>8}  {step.saw}"
