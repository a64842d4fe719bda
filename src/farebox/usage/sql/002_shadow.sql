-- Schema version 2: why a call in shadow mode would have been refused; empty for every other.
ALTER TABLE entries ADD COLUMN shadow VARCHAR DEFAULT '';
UPDATE schema_version SET version = 2;
