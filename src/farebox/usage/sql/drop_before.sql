DELETE FROM entries WHERE stamp < ?;
