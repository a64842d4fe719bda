-- Every word of every record, for the search by word; kept by triggers, so that no way of writing forgets it.

CREATE VIRTUAL TABLE record_words USING fts5 (words, tokenize = 'unicode61');

CREATE TRIGGER words_of_a_new_record AFTER INSERT ON record BEGIN
    INSERT INTO record_words (rowid, words)
    SELECT new.id, group_concat(value, ' ') FROM json_each(new.body) WHERE type IN ('text', 'integer', 'real');
END;

CREATE TRIGGER words_of_a_changed_record AFTER UPDATE OF body ON record BEGIN
    UPDATE record_words SET words = (
        SELECT group_concat(value, ' ') FROM json_each(new.body) WHERE type IN ('text', 'integer', 'real')
    ) WHERE rowid = new.id;
END;

CREATE TRIGGER words_of_a_deleted_record AFTER DELETE ON record BEGIN
    DELETE FROM record_words WHERE rowid = old.id;
END;

INSERT INTO record_words (rowid, words)
SELECT id, (SELECT group_concat(value, ' ') FROM json_each(body) WHERE type IN ('text', 'integer', 'real')) FROM record;
