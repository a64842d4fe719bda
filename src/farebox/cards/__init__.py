"""Rate cards on disk: the files that ship, reading them with errors that name file, line and rule, and reading bodies.

card = CompiledCard(cards.load("zoho-crm"))
"""

from farebox.cards.body import answer_facts, body_facts
from farebox.cards.loader import load, names, parse

__all__ = ["answer_facts", "body_facts", "load", "names", "parse"]
