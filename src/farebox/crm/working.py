"""Which workers run beside the calls of an API: the place where a family that works in the background puts its own."""

from farebox.crm import bulk_read, bulk_write, deliveries, jobs, mass, trimming
from farebox.crm.background import Workers
from farebox.crm.settings import Settings
from farebox.crm.store import Store

KINDS = {
    bulk_read.KIND: (bulk_read.piece, bulk_read.show),
    bulk_write.KIND: (bulk_write.piece, bulk_write.show),
    **mass.KINDS,
}
"""Each kind of job: what does its next piece, and how it is shown."""


def make_workers(store: Store, settings: Settings) -> Workers:
    """The workers of an API over `store`, not yet started."""
    workers = Workers()
    workers.add(deliveries.make_worker(store, settings))
    workers.add(trimming.make_worker(store))
    workers.add(jobs.make_worker(store, settings, KINDS, workers))
    return workers
