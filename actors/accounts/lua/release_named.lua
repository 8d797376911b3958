-- Release an account for an operator, who need not be its holder.
-- KEYS 1 checkouts  2 leases  3 holders  4 fencing
-- ARGV 1 account  2 '1' to release it although its lease is valid
-- Returns 1 when released, 0 when the account is in use, -1 when there is no such account.
expect({KEYS[1], KEYS[2]}, {KEYS[3], KEYS[4]})
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return -1 end
local lease_ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
if ARGV[2] ~= '1' and lease_ends > now_ms() then return 0 end
end_checkout(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1])
return 1
