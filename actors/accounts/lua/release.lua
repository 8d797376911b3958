-- Release an account; does nothing when the lease is lost.
-- KEYS 1 checkouts  2 leases  3 holders  4 hints (see acquire)  5 fencing
-- ARGV 1 account  2 fencing token
expect({KEYS[1], KEYS[2], KEYS[4]}, {KEYS[3], KEYS[5]})
if not is_held_with(KEYS[3], ARGV[1], ARGV[2]) then return 0 end
end_checkout(KEYS[1], KEYS[2], KEYS[3], KEYS[5], ARGV[1])
redis.call('ZADD', KEYS[4], now_ms(), ARGV[1])
return 1
