-- What happens to records besides being written: deleted ones stay findable, leads become converted ones, tags hang on.

ALTER TABLE record ADD COLUMN converted INTEGER NOT NULL DEFAULT 0;   -- 1: a lead that became contact, account, deal
ALTER TABLE record ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';        -- ids of its tags, in the order they were added

CREATE TABLE deleted_record (
    id INTEGER PRIMARY KEY,                -- the record's
    zgid INTEGER NOT NULL REFERENCES organisation,
    module TEXT NOT NULL,
    name TEXT NOT NULL,
    created_by INTEGER NOT NULL,
    deleted_by INTEGER NOT NULL,
    deleted INTEGER NOT NULL               -- seconds since 1970
) STRICT;
CREATE INDEX deleted_record_by_module ON deleted_record (zgid, module, deleted, id);
