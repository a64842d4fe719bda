INSERT INTO offsets (incarnation, segment, byte) VALUES (?, ?, ?)
ON CONFLICT (incarnation) DO UPDATE SET segment = excluded.segment, byte = excluded.byte;
