-- When the files of ended jobs go, and since when a delivery is given up.

ALTER TABLE job ADD COLUMN files_until INTEGER;         -- seconds since 1970; NULL: it has none that are to go
UPDATE job SET files_until = created + 86400 WHERE state IN ('COMPLETED', 'FAILED');
CREATE INDEX job_by_files_until ON job (files_until) WHERE files_until IS NOT NULL;

ALTER TABLE notice ADD COLUMN given_up INTEGER;         -- seconds since 1970
UPDATE notice SET given_up = CAST(strftime('%s', 'now') AS INTEGER) WHERE due IS NULL;
CREATE INDEX notice_by_given_up ON notice (given_up) WHERE given_up IS NOT NULL;

ALTER TABLE callback ADD COLUMN given_up INTEGER;       -- seconds since 1970
UPDATE callback SET given_up = CAST(strftime('%s', 'now') AS INTEGER) WHERE due IS NULL;
CREATE INDEX callback_by_given_up ON callback (given_up) WHERE given_up IS NOT NULL;

CREATE INDEX upload_by_created ON upload (created);
