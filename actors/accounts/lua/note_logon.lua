-- Remember when an account was logged on last, for people.
-- KEYS 1 holders  2 last log-ons      ARGV 1 account  2 fencing token
if not is_held_with(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], now_ms())
return 1
