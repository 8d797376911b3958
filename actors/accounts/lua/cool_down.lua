-- Let nobody check the account out for a while; only its holder may say so.
-- KEYS 1 holders  2 cooldowns  3 cooldown reasons
-- ARGV 1 account  2 fencing token  3 ms  4 reason
expect({KEYS[2]}, {KEYS[1], KEYS[3]})
if not is_held_with(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[2], now_ms() + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
return 1
