-- The store of the reference CRM API. Times are whole seconds since 1970 (UTC); secrets and tokens
-- are kept as SHA-256 digests only; a record's own fields are one JSON object in `body`.

CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE organisation (
    zgid INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    product TEXT NOT NULL CHECK (product IN ('crm', 'bigin')),
    edition TEXT NOT NULL,
    id_prefix INTEGER NOT NULL UNIQUE,     -- ids are id_prefix * 10^12 + a serial number
    next_serial INTEGER NOT NULL,
    unique_fields TEXT NOT NULL,           -- {"Leads": ["Email"]}: unique besides the catalogue's own
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE user (
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    email TEXT NOT NULL COLLATE NOCASE,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'disabled', 'deleted')),
    confirmed INTEGER NOT NULL,
    admin INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (zgid, email)
) STRICT;

CREATE TABLE client (
    client_id TEXT PRIMARY KEY,
    zgid INTEGER REFERENCES organisation,  -- NULL: a resource server, which may introspect every token
    user_id INTEGER REFERENCES user,       -- whom client_credentials stands for
    secret BLOB NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    redirect_uri TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    digest BLOB PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('code', 'refresh', 'access')),
    client_id TEXT NOT NULL REFERENCES client,
    user_id INTEGER NOT NULL REFERENCES user,
    scope TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER,                       -- NULL: until revoked
    parent BLOB,                           -- an access token's refresh token
    redirect_uri TEXT NOT NULL DEFAULT '',
    offline INTEGER NOT NULL DEFAULT 1     -- whether a code also buys a refresh token
) STRICT, WITHOUT ROWID;
CREATE INDEX token_by_parent ON token (parent) WHERE parent IS NOT NULL;
CREATE INDEX token_by_expiry ON token (expires) WHERE expires IS NOT NULL;

CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    module TEXT NOT NULL,
    name TEXT NOT NULL,
    owner INTEGER NOT NULL,
    created_by INTEGER NOT NULL,
    modified_by INTEGER NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX record_by_id ON record (zgid, module, id);
CREATE INDEX record_by_created ON record (zgid, module, created, id);
CREATE INDEX record_by_modified ON record (zgid, module, modified, id);

CREATE TABLE field_value (                 -- what unique and duplicate-check fields hold
    zgid INTEGER NOT NULL,
    module TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,                   -- trimmed and case-folded
    record_id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    PRIMARY KEY (zgid, module, field, value, record_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX field_value_by_record ON field_value (record_id);

CREATE TABLE counter (                     -- the last number given out per autonumber field
    zgid INTEGER NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (zgid, name)
) STRICT, WITHOUT ROWID;
