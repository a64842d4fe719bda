"""Which workers run beside the calls of an API: the place where a family that works in the background puts its own."""

from farebox.crm import deliveries
from farebox.crm.background import Worker
from farebox.crm.settings import Settings
from farebox.crm.store import Store


def make_workers(store: Store, settings: Settings) -> list[Worker]:
    """The workers of an API over `store`, not yet started."""
    return [deliveries.make_worker(store, settings)]
