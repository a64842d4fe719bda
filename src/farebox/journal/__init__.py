"""The journal: append-only segments on local disk in which every call is recorded before it is answered."""
