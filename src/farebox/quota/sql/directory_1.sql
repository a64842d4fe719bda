-- The directory: who there is, what they bought, and the keys they call with.

CREATE TABLE version (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    version   INTEGER NOT NULL          -- grows by one with each change
);
INSERT INTO version VALUES (1, 0);

CREATE TABLE orgs (
    org        TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    suspended  INTEGER NOT NULL DEFAULT 0,
    time_zone  TEXT NOT NULL,
    version    INTEGER NOT NULL         -- of the last change that touches its allowances
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    org      TEXT NOT NULL REFERENCES orgs,
    product  TEXT NOT NULL,
    card     TEXT NOT NULL,
    plan     TEXT NOT NULL,
    users    INTEGER NOT NULL,          -- purchased licences, not rows of `users`
    base     INTEGER,                   -- millicredits instead of the plan's base; NULL: the plan's
    addon    INTEGER NOT NULL,          -- millicredits
    version  INTEGER NOT NULL,
    PRIMARY KEY (org, product)
) WITHOUT ROWID;

CREATE TABLE users (
    org     TEXT NOT NULL REFERENCES orgs,
    id      TEXT NOT NULL,
    name    TEXT NOT NULL,
    email   TEXT NOT NULL,
    active  INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (org, id)
) WITHOUT ROWID;

CREATE TABLE apps (
    org   TEXT NOT NULL REFERENCES orgs,
    id    TEXT NOT NULL,
    name  TEXT NOT NULL,
    PRIMARY KEY (org, id)
) WITHOUT ROWID;

CREATE TABLE keys (
    id       TEXT PRIMARY KEY,          -- what people call the key by
    sha256   BLOB NOT NULL UNIQUE,      -- the key itself is shown once and kept nowhere
    org      TEXT NOT NULL REFERENCES orgs,
    user     TEXT NOT NULL,
    app      TEXT NOT NULL,
    label    TEXT NOT NULL,
    made_at  INTEGER NOT NULL,          -- microseconds
    revoked  INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE upstream_credentials (
    org            TEXT NOT NULL REFERENCES orgs,
    upstream       TEXT NOT NULL,       -- the upstream's name in farebox.toml; '' for all
    authorization  TEXT NOT NULL,       -- the whole value of the Authorization field
    PRIMARY KEY (org, upstream)
) WITHOUT ROWID;
