-- What hangs on records besides other records: tags, attachments; and files that are uploaded for later.

CREATE TABLE tag (
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    module TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    color_code TEXT,
    created_by INTEGER NOT NULL,
    modified_by INTEGER NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    UNIQUE (zgid, module, name)
) STRICT;

CREATE TABLE attachment (                  -- a file's content is `attachment-{id}` in the files directory
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    parent_id INTEGER NOT NULL,            -- a record, living or in the recycle bin
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    url TEXT,                              -- of a link; NULL: a file
    created_by INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX attachment_by_parent ON attachment (parent_id, id);

CREATE TABLE stored_file (                 -- its content is `file-{id}` in the files directory
    id TEXT PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
