-- Which records point at which, and which are linked with each other.

CREATE TABLE record_lookup (               -- every look-up of every record; kept by triggers
    target_id INTEGER NOT NULL,            -- what is pointed at, living or not
    path TEXT NOT NULL,                    -- where in the body: '$.Account_Name', '$.Quoted_Items[0].Product_Name'
    record_id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    PRIMARY KEY (target_id, path, record_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_lookup_by_record ON record_lookup (record_id);

-- ids have 19 digits, numbers of a record at most 18: no other integer in a body is as large
CREATE TRIGGER lookups_of_a_new_record AFTER INSERT ON record BEGIN
    INSERT INTO record_lookup (target_id, path, record_id)
    SELECT value, fullkey, new.id FROM json_tree(new.body) WHERE type = 'integer' AND value >= 1000000000000000000;
END;

CREATE TRIGGER lookups_of_a_changed_record AFTER UPDATE OF body ON record BEGIN
    DELETE FROM record_lookup WHERE record_id = new.id;
    INSERT INTO record_lookup (target_id, path, record_id)
    SELECT value, fullkey, new.id FROM json_tree(new.body) WHERE type = 'integer' AND value >= 1000000000000000000;
END;

INSERT INTO record_lookup (target_id, path, record_id)
SELECT json_tree.value, json_tree.fullkey, record.id FROM record, json_tree(record.body)
WHERE json_tree.type = 'integer' AND json_tree.value >= 1000000000000000000;

CREATE TABLE record_link (                 -- two records that belong together without a look-up
    kind TEXT NOT NULL,                    -- 'Products', 'Contact_Roles', 'Campaigns'
    left_id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    right_id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    details TEXT NOT NULL DEFAULT '{}',    -- what the link says of itself, as JSON: {"Contact_Role": {...}}
    PRIMARY KEY (kind, left_id, right_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_link_by_left ON record_link (left_id);
CREATE INDEX record_link_by_right ON record_link (right_id);

CREATE INDEX deleted_record_by_time ON deleted_record (deleted);
