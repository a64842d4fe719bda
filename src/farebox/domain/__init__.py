"""The rules of Farebox as pure values and functions: no clock, no chance, no I/O, standard library only.

Front to back along the way of a call: identity, cards, pricing, plans, window, leases, entries.
"""
