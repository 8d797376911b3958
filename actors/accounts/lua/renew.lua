-- Prolong a lease; put it up again when Redis lost it and nobody took the account meanwhile.
-- KEYS 1 checkouts  2 leases  3 holders  4 fencing
-- ARGV 1 account  2 fencing token  3 lease ms  4 holder
-- Returns 1; 2 when it had to be put up again; 0 when the lease is lost.
local now = now_ms()
if is_held_with(KEYS[3], ARGV[1], ARGV[2]) then
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
  return 1
end
local is_free = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) == 0
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 or not is_free then return 0 end
local newest = tonumber(redis.call('GET', KEYS[4]) or 0)
if newest > tonumber(ARGV[2]) then return 0 end -- checked out and given back after us: not lost, over
redis.call('SET', KEYS[4], ARGV[2])
redis.call('ZADD', KEYS[1], 1, ARGV[1])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. now .. ' ' .. ARGV[4])
return 2
