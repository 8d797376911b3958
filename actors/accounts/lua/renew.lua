-- Prolong a lease, and let its score say so; put it up again when Redis lost it and nobody took the account meanwhile.
-- KEYS 1 checkouts  2 leases  3 holders  4 fencing  5 spellings  6 steam ids
-- ARGV 1 account  2 fencing token  3 lease ms  4 holder
-- Returns 1; 2 when it had to be put up again; 0 when the lease is lost.
local spellings, steam_ids = KEYS[5], KEYS[6]
expect({KEYS[1], KEYS[2]}, {KEYS[3], KEYS[4], spellings, steam_ids})
-- To renew needs no memory. Redis checks for it at a script's first write, which is therefore one that frees:
-- with a full Redis (OOM) bots keep their sessions.
redis.call('ZREM', KEYS[2], '')
local now = now_ms()
if is_held_with(KEYS[3], ARGV[1], ARGV[2]) then
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
  demand(KEYS[1], ARGV[1])
  return 1
end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 or not is_free(KEYS[1], ARGV[1]) then return 0 end
if newest_token(KEYS[4], ARGV[1]) > tonumber(ARGV[2]) then return 0 end -- checked out or given back after us: not lost, over
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
if used_as(names_of(ARGV[1], spellings, steam_ids), KEYS[1], KEYS[2], now) then return 0 end
demand(KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. now .. ' ' .. ARGV[4])
return 2
