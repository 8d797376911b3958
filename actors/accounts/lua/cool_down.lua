-- Block checkouts of an account for a while, as its holder.
-- KEYS 1 holders  2 cooldowns  3 cooldown reasons  4 passwords  5 shared secrets  6 refused credentials
-- ARGV 1 account  2 fencing token  3 ms  4 reason
--      5 ms if the same credentials were refused before; '' if other credentials do not end the cooldown
--      6 digest of the refused credentials (see credentials_of), or '' for the stored ones
-- Returns 1, or 0 when the lease is lost.
expect({KEYS[2]}, {KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6]})
if not is_held_with(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
local ms = ARGV[3]
if ARGV[5] ~= '' then
  local credentials = ARGV[6] ~= '' and ARGV[6] or credentials_of(KEYS[4], KEYS[5], ARGV[1])
  if redis.call('HGET', KEYS[6], ARGV[1]) == credentials then ms = ARGV[5] end
  redis.call('HSET', KEYS[6], ARGV[1], credentials)
end
redis.call('ZADD', KEYS[2], now_ms() + ms, ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
return 1
