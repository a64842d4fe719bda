-- console.db, schema version 1 (PRAGMA user_version). Times are whole seconds since 1970-01-01 UTC.
CREATE TABLE logins (
    name          TEXT PRIMARY KEY,
    org           TEXT NOT NULL,      -- empty for the operator, who sees every organisation
    password_hash TEXT NOT NULL       -- argon2id; empty until the first sign-in has set one
) STRICT;

CREATE TABLE links (
    token_hash BLOB PRIMARY KEY,      -- SHA-256: the link itself is shown once and never kept
    login      TEXT NOT NULL REFERENCES logins (name) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    login      TEXT NOT NULL REFERENCES logins (name) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    token_hash BLOB PRIMARY KEY,
    login      TEXT NOT NULL REFERENCES logins (name) ON DELETE CASCADE,
    made_at    INTEGER NOT NULL
) STRICT;

-- One row per failed attempt (or one being judged) of the last quarter of an hour: what throttling counts.
CREATE TABLE failures (
    login   TEXT NOT NULL,
    address TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX failures_by_time ON failures (at);
