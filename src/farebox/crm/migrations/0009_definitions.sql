-- What an organisation added to the modules every one has: modules and fields of its own.

ALTER TABLE organisation ADD COLUMN definitions TEXT NOT NULL DEFAULT '{}';   -- as definitions.py reads them
