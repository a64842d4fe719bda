-- Who wants to hear of which changes, and what is still to be told.

CREATE TABLE watch (                       -- one event of one channel
    zgid INTEGER NOT NULL REFERENCES organisation,
    channel_id INTEGER NOT NULL,
    module TEXT NOT NULL,                  -- API name, or 'users'
    event TEXT NOT NULL CHECK (event IN ('create', 'edit', 'delete', 'all')),
    user_id INTEGER NOT NULL,
    version TEXT NOT NULL,
    notify_url TEXT NOT NULL,
    token TEXT NOT NULL,
    expires INTEGER NOT NULL,
    affected_values INTEGER NOT NULL,
    related INTEGER NOT NULL,
    condition TEXT NOT NULL,               -- notification_condition as given, as JSON
    PRIMARY KEY (zgid, channel_id, module, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX watch_by_module ON watch (zgid, module);

CREATE TABLE notice (                      -- one changed record for one channel, written with the change itself
    id INTEGER PRIMARY KEY,
    zgid INTEGER NOT NULL,
    channel_id INTEGER NOT NULL,
    call_id TEXT NOT NULL,                 -- changes of one call are told together
    module TEXT NOT NULL,
    operation TEXT NOT NULL,
    record_id INTEGER NOT NULL,
    changed TEXT NOT NULL,                 -- names of the fields, as JSON
    shown TEXT NOT NULL,                   -- their values, as JSON; null when not asked for
    url TEXT NOT NULL,
    token TEXT NOT NULL,
    resource_uri TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due INTEGER,                           -- seconds since 1970; NULL: given up
    problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX notice_by_due ON notice (due, id) WHERE due IS NOT NULL;
CREATE INDEX notice_by_group ON notice (channel_id, call_id, module, operation);
