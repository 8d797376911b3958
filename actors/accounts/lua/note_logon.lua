-- Record the time of a successful log-on, which ends the account's cooldown.
-- KEYS 1 holders  2 last log-ons  3 cooldowns  4 cooldown reasons  5 refused credentials
-- ARGV 1 account  2 fencing token
-- Returns 1, or 0 when the lease is lost.
if not is_held_with(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], now_ms())
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
return 1
