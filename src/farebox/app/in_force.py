"""The configuration in force: the texts of farebox.toml and of its card files, as they were when it was put in force.

The supervisor keeps them in memory and every process it starts gets them from there: a worker that is replaced at night
does not pick up what somebody is just editing. Without a supervisor the files are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from farebox import config
from farebox.app.cards import card_loader
from farebox.domain.cards import RateCard
from farebox.errors import ConfigInvalidError
from farebox.gateway.inheritance import in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A configuration, whole. `cards`: the text of each card file an upstream names, by its path."""

    settings: config.Config
    text: str
    cards: Mapping[str, str]

    def card_loader(self) -> Callable[[str], RateCard]:
        """Rate cards by the name that a subscription or an upstream gives."""
        return card_loader(self.settings, self.cards)

    def encoded(self) -> dict[str, object]:
        """What `inherited` reads, for JSON."""
        return {"text": self.text, "cards": dict(self.cards)}


def read(path: Path) -> InForce:
    """What the files say now. Raises ConfigInvalidError."""
    settings = config.load(path)
    text = path.read_text(encoding="utf-8")
    if config.parse(text, path=path) != settings:
        raise ConfigInvalidError((f"{path} is being written; try again",))
    return InForce(settings=settings, text=text, cards=_card_files(settings))


def inherited(path: Path) -> InForce:
    """What the supervisor keeps in force; without one, what the files say now. Raises ConfigInvalidError."""
    kept = in_force()
    if kept is None:
        return read(path)
    found = json.loads(kept)["in_force"]
    return InForce(settings=config.parse(found["text"], path=path), text=found["text"], cards=found["cards"])


def _card_files(settings: config.Config) -> dict[str, str]:
    """A file that cannot be read is left out: whoever loads the card says what is wrong with it."""
    found = {}
    for card in {upstream.card for upstream in settings.upstream}:
        if card.endswith(".toml"):
            try:
                found[card] = Path(card).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
    return found
