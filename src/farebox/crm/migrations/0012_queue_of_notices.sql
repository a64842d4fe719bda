-- The next notices of a channel are found without reading all that wait.

DROP INDEX notice_by_group;
CREATE INDEX notice_by_channel ON notice (zgid, channel_id, due, id) WHERE due IS NOT NULL;
CREATE INDEX notice_by_group ON notice (zgid, channel_id, call_id, module, operation, due, id) WHERE due IS NOT NULL;
