-- One account's sums over the entries whose stamp second still counts (from the first microsecond of that second).
SELECT
    coalesce(sum(calls), 0)::BIGINT,
    coalesce(sum(credits), 0)::BIGINT,
    coalesce(sum(refusals), 0)::BIGINT,
    coalesce(sum(credits) FILTER (NOT leased AND shadow = ''), 0)::BIGINT,
    coalesce(sum(calls) FILTER (shadow <> ''), 0)::BIGINT,
    coalesce(sum(credits) FILTER (shadow <> ''), 0)::BIGINT,
    coalesce(max(stamp) FILTER (refusals > 0), 0)::BIGINT
FROM entries
WHERE org = $org AND product = $product AND pool = $pool AND stamp >= $since;
