-- Views that users made; those every module has are not stored.

CREATE TABLE custom_view (
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL REFERENCES organisation,
    module TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    definition TEXT NOT NULL,              -- criteria, fields, order and who sees it, as JSON
    created_by INTEGER NOT NULL,
    created INTEGER NOT NULL,
    modified_by INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    UNIQUE (zgid, module, name)
) STRICT;
