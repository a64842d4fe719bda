-- Schema version 1. One row per journal entry, all its fields, nothing updated ever: every figure is a sum over rows.
-- Amounts are millicredits, stamp and duration microseconds; a close repeats its charge's stamp and dimensions.
CREATE TABLE entries (
    kind           UTINYINT NOT NULL,
    call_id        BLOB NOT NULL,
    stamp          BIGINT NOT NULL,
    org            VARCHAR NOT NULL,
    product        VARCHAR NOT NULL,
    pool           VARCHAR NOT NULL,
    "user"         VARCHAR NOT NULL,
    app            VARCHAR NOT NULL,
    "function"     VARCHAR NOT NULL,
    task           VARCHAR NOT NULL,
    module         VARCHAR NOT NULL,
    operation      VARCHAR NOT NULL,
    method         VARCHAR NOT NULL,
    path_template  VARCHAR NOT NULL,
    api_version    VARCHAR NOT NULL,
    target_hash    BLOB NOT NULL,
    client_ip      VARCHAR NOT NULL,
    status         SMALLINT NOT NULL,
    outcome        VARCHAR NOT NULL,
    reason         VARCHAR NOT NULL,
    quote          BIGINT NOT NULL,
    credits        BIGINT NOT NULL,
    addon          BIGINT NOT NULL,
    quantities     MAP(VARCHAR, BIGINT) NOT NULL,
    records_returned INTEGER NOT NULL,
    conditional    UTINYINT NOT NULL,
    duration       BIGINT NOT NULL,
    bytes_in       BIGINT NOT NULL,
    bytes_out      BIGINT NOT NULL,
    calls          INTEGER NOT NULL,
    refusals       INTEGER NOT NULL,
    leased         BOOLEAN NOT NULL
);

-- How far each incarnation's journal is loaded: written in the transaction that inserts the rows.
CREATE TABLE offsets (
    incarnation VARCHAR PRIMARY KEY,
    segment     BIGINT NOT NULL,
    byte        BIGINT NOT NULL
);

CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (1);
