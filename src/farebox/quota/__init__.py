"""Quota: who may spend how much, lent to gateways as short leases. The protocol is in port.py."""
