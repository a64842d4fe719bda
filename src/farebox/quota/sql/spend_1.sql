-- Spend and leases: one row per account and second, a running sum, and what each gateway has on loan.

CREATE TABLE clock (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    boot_id     TEXT NOT NULL,
    boottime    INTEGER NOT NULL,
    store_time  INTEGER NOT NULL,   -- the high-water mark, too
    wall_ahead  INTEGER NOT NULL
);

CREATE TABLE accounts (
    id                 INTEGER PRIMARY KEY,
    org                TEXT NOT NULL,
    product            TEXT NOT NULL,
    pool               TEXT NOT NULL,
    used               INTEGER NOT NULL DEFAULT 0,  -- sum of its spend rows with second >= counted_from
    counted_from       INTEGER NOT NULL DEFAULT 0,
    lent               INTEGER NOT NULL DEFAULT 0,  -- sum of its leases' lent
    likes              INTEGER NOT NULL DEFAULT 0,  -- sum of its leases' likes
    unaccounted_until  INTEGER NOT NULL DEFAULT 0,  -- no unaccounted row is younger than this second
    UNIQUE (org, product, pool)
);

CREATE TABLE spend (
    account  INTEGER NOT NULL,
    second   INTEGER NOT NULL,
    credits  INTEGER NOT NULL,      -- millicredits, unaccounted ones included
    PRIMARY KEY (account, second)
) WITHOUT ROWID;

-- The same by five minutes, so that "when do enough credits return" reads hundreds of rows, not 86,400.
CREATE TABLE spend_block (
    account  INTEGER NOT NULL,
    block    INTEGER NOT NULL,      -- second / 300
    credits  INTEGER NOT NULL,
    PRIMARY KEY (account, block)
) WITHOUT ROWID;

CREATE TABLE incarnations (
    id               INTEGER PRIMARY KEY,
    incarnation      TEXT NOT NULL UNIQUE,
    machine          TEXT NOT NULL,
    slot             INTEGER NOT NULL,
    sequence         INTEGER NOT NULL,
    request_hash     BLOB NOT NULL,
    reply            BLOB NOT NULL,
    settled_segment  INTEGER NOT NULL,
    settled_byte     INTEGER NOT NULL,
    closed           INTEGER NOT NULL
);

CREATE TABLE leases (
    incarnation         INTEGER NOT NULL,
    account             INTEGER NOT NULL,
    lent                INTEGER NOT NULL,
    likes               INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,
    unaccounted         INTEGER NOT NULL DEFAULT 0,  -- what was lent at expiry, booked in ...
    unaccounted_second  INTEGER NOT NULL DEFAULT 0,  -- ... this second until the journal tells better
    PRIMARY KEY (incarnation, account)
) WITHOUT ROWID;

CREATE INDEX leases_live ON leases (expires_at) WHERE unaccounted = 0;
CREATE INDEX leases_unaccounted ON leases (account, unaccounted_second) WHERE unaccounted > 0;

CREATE TABLE alarms (
    id           INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    incarnation  TEXT NOT NULL,
    org          TEXT NOT NULL,
    product      TEXT NOT NULL,
    pool         TEXT NOT NULL,
    over         INTEGER NOT NULL
);

CREATE TABLE sweep (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    last_account  INTEGER NOT NULL
);
INSERT INTO sweep VALUES (1, 0);
