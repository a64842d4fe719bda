-- Work that outlives its call: bulk read and bulk write, what they take and make, and whom they tell.

CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    user_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    version TEXT NOT NULL,
    scope TEXT NOT NULL,                   -- of the token that asked for it
    request TEXT NOT NULL,                 -- as given, as JSON
    state TEXT NOT NULL CHECK (state IN ('ADDED', 'IN PROGRESS', 'COMPLETED', 'FAILED')),
    progress TEXT NOT NULL DEFAULT '{}',   -- how far it is, as JSON; written with the records it is about
    result TEXT NOT NULL DEFAULT '{}',     -- what the finished job says of itself, as JSON
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX job_to_do ON job (id) WHERE state IN ('ADDED', 'IN PROGRESS');

CREATE TABLE job_row (                     -- what became of each row of a bulk write, until its result is made
    job_id INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    resource INTEGER NOT NULL,
    row INTEGER NOT NULL,
    first_cells TEXT NOT NULL,
    status TEXT NOT NULL,
    record_id TEXT NOT NULL,
    errors TEXT NOT NULL,
    PRIMARY KEY (job_id, resource, row)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_page (                    -- tokens with which a bulk read goes on where another ended
    token TEXT PRIMARY KEY,
    zgid INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    query TEXT NOT NULL,
    page INTEGER NOT NULL,
    after_id INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job_download (job_id INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE INDEX job_download_by_job ON job_download (job_id, at);

CREATE TABLE upload (                      -- its content is a file of this id in the files directory
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    name TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE callback (                    -- a POST that somebody waits for
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL,
    url TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due INTEGER,                           -- seconds since 1970; NULL: given up
    problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX callback_by_due ON callback (due) WHERE due IS NOT NULL;
