-- When tokens were asked for, as long as it counts against how many may be asked for; revoking one takes nothing back.

CREATE TABLE token_request (
    whose TEXT NOT NULL,                   -- 'access <digest of the refresh token>', 'refresh <client> <user>', 'code <client>'
    at INTEGER NOT NULL                    -- seconds since 1970
) STRICT;
CREATE INDEX token_request_by_whose ON token_request (whose, at);
