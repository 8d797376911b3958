-- End an account's cooldown and clear its budget, for an operator.
-- KEYS 1 checkouts  2 cooldowns  3 reasons  4 spellings  5 steam ids  6 refused credentials
-- ARGV 1 account  2 prefix of a budget's key
-- Returns 1, or -1 when there is no such account.
expect({KEYS[1], KEYS[2]}, {KEYS[3], KEYS[4], KEYS[5], KEYS[6]})
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return -1 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
for _, name in ipairs(names_of(ARGV[1], KEYS[4], KEYS[5])) do redis.call('DEL', ARGV[2] .. name) end
return 1
