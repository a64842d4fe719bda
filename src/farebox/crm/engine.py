"""From a path and a token to an answer: what a call over HTTP and a sub-request of a composite have in common."""

import sqlite3
from collections.abc import Awaitable
from typing import Any

from farebox.crm import tokens
from farebox.crm.background import Workers
from farebox.crm.call import Answer, Call, Incoming
from farebox.crm.errors import invalid_token, no_permission
from farebox.crm.function_runs import Runs
from farebox.crm.organisations import find_organisation, find_user
from farebox.crm.readers import Readers
from farebox.crm.route import Route
from farebox.crm.routes import find_route, split_path
from farebox.crm.settings import Settings
from farebox.crm.store import Store
from farebox.crm.tokens import Grant


class Engine:
    """The API over a store, without HTTP. Safe from several threads as far as the store is."""

    def __init__(self, store: Store, settings: Settings, workers: Workers) -> None:
        self.store = store
        self.settings = settings
        self.workers = workers
        self.runs = None if settings.functions is None else Runs(settings.functions)
        self._readers = Readers(store)

    def start(self) -> None:
        """Begin the work beside the calls."""
        self.workers.start()

    def stop(self) -> None:
        """End everything that goes on beside the calls."""
        self._readers.stop()
        if self.runs is not None:
            self.runs.stop()
        self.workers.stop()

    def route_of(self, method: str, path: str) -> Route:
        """The line of the table a request is answered by; raises what is wrong with path or method."""
        product, _, parts = split_path(path)
        return find_route(method, parts, product)

    def grant_of(self, db: sqlite3.Connection, access_token: str) -> Grant:
        """What an access token stands for now; raises INVALID_TOKEN."""
        grant = tokens.find_grant(db, access_token, kind="access", at=self.store.now())
        if grant is None:
            raise invalid_token()
        return grant

    def answer(self, incoming: Incoming, grant: Grant) -> Answer | Awaitable[Answer]:
        """Run the call; what may read long is read beside others. Raises ApiError for what is refused as a whole."""
        route, call, found = self._understand(incoming, grant)
        if route.reads_long(call):
            return self._readers.answer(lambda: _at_once(route.answer(call, **found)))
        return route.answer(call, **found)

    def _understand(self, incoming: Incoming, grant: Grant) -> tuple[Route, Call, dict[str, Any]]:
        """Who answers it, the call, and what its path names."""
        product, version, parts = split_path(incoming.path)
        route = find_route(incoming.method, parts, product)
        with self.store.reading() as db:
            organisation = find_organisation(db, grant.zgid)
            user = find_user(db, grant.user_id, zgid=grant.zgid)
        assert user is not None, "a grant without its user"
        if organisation.product != product:
            route.check_scope(granted=grant.scope, product=product, module=None)
            raise no_permission("Crm_Implied_Api_Access")
        found = route.arguments(parts, organisation)
        module = found["module"].api_name if "module" in found else None
        route.check_scope(granted=grant.scope, product=product, module=module)
        call = Call(
            store=self.store,
            settings=self.settings,
            workers=self.workers,
            organisation=organisation,
            user=user,
            version=version,
            scope=grant.scope,
            params=incoming.params,
            headers=incoming.headers,
            body=incoming.body,
            uploads=tuple(incoming.uploads),
            records_max=incoming.records_max,
            runs=self.runs,
            at=self.store.now(),
            dispatch=lambda inner: self._answer_inner(inner, grant),
        )
        return route, call, found

    def _answer_inner(self, incoming: Incoming, grant: Grant) -> Answer:
        """A request inside a request, under the same grant and in its transaction; only what awaits nothing."""
        route, call, found = self._understand(incoming, grant)
        return _at_once(route.answer(call, **found))


def _at_once(answer: Answer | Awaitable[Answer]) -> Answer:
    assert isinstance(answer, Answer), "a route that awaits cannot be part of another call, nor read beside others"
    return answer
