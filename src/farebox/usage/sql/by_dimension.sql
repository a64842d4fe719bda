-- The same sums, one line per value of a dimension. {dimension} is a column name out of a closed list.
SELECT
    {dimension} AS value,
    sum(calls)::BIGINT AS calls,
    sum(credits)::BIGINT AS credits,
    sum(refusals)::BIGINT AS refusals
FROM entries
WHERE org = $org AND product = $product AND pool = $pool AND stamp >= $since
GROUP BY value
ORDER BY credits DESC, calls DESC, refusals DESC, value
LIMIT $lines_max;
