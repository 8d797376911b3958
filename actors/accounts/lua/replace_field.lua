-- Replace a field of a hash if it still has the value that was read.
-- KEYS 1 the hash      ARGV 1 field  2 value that was read  3 new value
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
