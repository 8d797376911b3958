-- Extend a lease and set the score; restore a lease that Redis lost if no other holder took the account meanwhile.
-- A Redis that went back to an old state may have older leases of this holder. A holder uses one account: they end.
-- KEYS 1 checkouts  2 leases  3 holders  4 fencing  5 spellings  6 steam ids  7 server time
-- ARGV 1 account  2 fencing token  3 lease ms  4 holder
-- Returns 1; 2 when the lease had lapsed or was lost and is valid again; 0 when the lease is lost.
local spellings, steam_ids = KEYS[5], KEYS[6]
expect({KEYS[1], KEYS[2]}, {KEYS[3], KEYS[4], spellings, steam_ids})
-- Redis refuses a script's first write when memory is full (OOM), unless that write frees memory. The ZREM does, so
-- bots keep their sessions.
redis.call('ZREM', KEYS[2], '')
local now = now_ms()
note_time(KEYS[7], KEYS[2], now, tonumber(ARGV[3]))
local lease_ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
restore_leases(KEYS[3], KEYS[2], now, ARGV[3])
local function end_others() end_others_of(ARGV[4], ARGV[1], KEYS[1], KEYS[2], KEYS[3], KEYS[4]) end
if is_held_with(KEYS[3], ARGV[1], ARGV[2]) then
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
  mark_checked_out(KEYS[1], ARGV[1])
  if lease_ends > now then return 1 end
  end_others()
  return 2
end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 or not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local newest, ours = newest_token(KEYS[4], ARGV[1]), tonumber(ARGV[2])
if newest > ours then return 0 end -- checked out, released or lapsed later: over, not lost
-- A client of the first BotAPI, which knows no leases, has checked it out.
if newest < ours and not is_free(KEYS[1], ARGV[1]) then return 0 end
if used_as(names_of(ARGV[1], spellings, steam_ids), KEYS[1], KEYS[2], now) then return 0 end
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
mark_checked_out(KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. now .. ' ' .. ARGV[4])
end_others()
return 2
