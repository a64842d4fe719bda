-- Shadow mode: calls of the organisation are judged and recorded, never refused for want of credits.

ALTER TABLE orgs ADD COLUMN shadow INTEGER NOT NULL DEFAULT 0;
