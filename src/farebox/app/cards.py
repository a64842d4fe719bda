"""Rate cards by the name that a subscription or an upstream gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from farebox import cards, config
from farebox.domain.cards import RateCard


def card_loader(settings: config.Config, texts: Mapping[str, str] | None = None) -> Callable[[str], RateCard]:
    """Each card read once. A subscription names a card file as the configuration does, or by its file name alone.

    `texts`: what stands in card files, by path, where it was read before.
    """
    by_file_name = {Path(upstream.card).name: upstream.card for upstream in settings.upstream}

    @lru_cache(maxsize=256)
    def load(name: str) -> RateCard:
        name = by_file_name.get(Path(name).name, name)
        return cards.parse(texts[name], file=name) if texts is not None and name in texts else cards.load(name)

    return load
