-- Give an account back; does nothing when the lease is not the caller's any more.
-- KEYS 1 checkouts  2 leases  3 holders  4 hints (see acquire)      ARGV 1 account  2 fencing token
if not is_held_with(KEYS[3], ARGV[1], ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1])
redis.call('ZADD', KEYS[4], 0, ARGV[1])
return 1
