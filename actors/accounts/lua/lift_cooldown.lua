-- End the cooldown of an account if it has this reason.
-- KEYS 1 cooldowns  2 cooldown reasons  3 hints (see acquire)  4 refused credentials
-- ARGV 1 account  2 reason
expect({KEYS[1], KEYS[3]}, {KEYS[2], KEYS[4]})
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return 1
