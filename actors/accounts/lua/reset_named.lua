-- Forgive an account: no cooldown, a full budget.
-- KEYS 1 checkouts  2 cooldowns  3 reasons  4 budget      ARGV 1 account
-- Returns 1, or -1 when there is no such account.
expect({KEYS[1], KEYS[2]}, {KEYS[3]})
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return -1 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4])
return 1
