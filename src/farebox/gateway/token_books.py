"""One book of tokens for each place that is asked about them, whichever upstreams the tokens come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from farebox.config import GatewayConfig, HttpUrl, Lookup, Upstream, UpstreamTls
from farebox.domain.cards import CompiledCard
from farebox.gateway.introspect import Introspector
from farebox.gateway.lookup import UserLookups
from farebox.gateway.plane import Plane
from farebox.gateway.tokens import Asker, TokenBook
from farebox.gateway.upstream import Connections
from farebox.quota.directory_image import DirectoryImage


class Connect(Protocol):
    """Makes the connections to a URL; `name` is what people are told it is."""

    def __call__(self, name: str, url: str, tls: UpstreamTls | None) -> Connections:
        """The connections."""
        ...


class TokenBooks:
    """Makes the books of one worker. `plane` is asked for only once calls come."""

    def __init__(
        self,
        settings: GatewayConfig,
        *,
        loop: asyncio.AbstractEventLoop,
        connect: Connect,
        plane: Callable[[], Plane],
        directory: Callable[[], DirectoryImage],
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._connect = connect
        self._plane = plane
        self._directory = directory
        self._lookups: list[UserLookups] = []
        self._looked_up: dict[tuple[str, Lookup, str], TokenBook] = {}

    def of(self, upstream: Upstream, card: CompiledCard, pool: Connections) -> TokenBook | None:
        """What is known about the tokens that come to an upstream; None where they are not asked about."""
        if upstream.identity == "introspection" and upstream.introspection is not None:
            asked = upstream.introspection
            server = self._connect(f"{upstream.name}'s authorization server", asked.url, asked.tls)
            return self._book(Introspector(asked, server, cache_seconds=self._settings.token_cache_seconds))
        if upstream.identity != "lookup" or upstream.lookup is None:
            return None
        # Another host of the same API: a token is looked up, and paid for, once for all of them.
        lookup = upstream.lookup
        same = (lookup.url or upstream.url, replace(lookup, url=HttpUrl(""), tls=None), card.card.name)
        known = self._looked_up.get(same)
        if known is None:
            api = self._connect(f"{upstream.name}'s users", lookup.url, lookup.tls) if lookup.url else pool
            known = self._looked_up[same] = self._book(self._user_lookups(lookup, api, card))
        return known

    def close(self) -> None:
        """The worker stops: look-ups under way end, and those that were sent are charged."""
        for lookups in self._lookups:
            lookups.close()

    def _book(self, asker: Asker) -> TokenBook:
        return TokenBook(
            asker,
            entries_max=self._settings.token_cache_entries,
            wait_seconds=self._settings.identity_wait_seconds,
            loop=self._loop,
        )

    def _user_lookups(self, config: Lookup, pool: Connections, card: CompiledCard) -> UserLookups:
        lookups = UserLookups(
            config,
            pool,
            card=card,
            plane=self._plane,
            directory=self._directory,
            cache_seconds=self._settings.token_cache_seconds,
        )
        self._lookups.append(lookups)
        return lookups
