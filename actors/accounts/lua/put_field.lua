-- Write the account's field of a hash, or delete it where the value is empty, as the account's holder.
-- KEYS 1 holders  2 the hash      ARGV 1 account  2 fencing token  3 value
-- Returns 1, or 0 when the lease is lost.
if not is_held_with(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
return 1
