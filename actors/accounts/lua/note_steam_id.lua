-- Record the SteamID64 of an account, which Steam tells before the log-on. If another name of the same Steam account
-- is in use, this checkout ends at once, and only this one.
-- KEYS 1 checkouts  2 leases  3 holders  4 fencing  5 spellings  6 steam ids (see prelude)
-- ARGV 1 account  2 fencing token  3 SteamID64
-- Returns 1; 0 when the lease is lost; the other name when the checkout has ended.
expect({KEYS[1], KEYS[2]}, {KEYS[3], KEYS[4], KEYS[6]})
if not is_held_with(KEYS[3], ARGV[1], ARGV[2]) then return 0 end
local now, folded = now_ms(), fold(ARGV[1])
if not folded then return 1 end
refresh_spellings(KEYS[5], KEYS[1], KEYS[2], now)

forget_steam_id(KEYS[6], folded)
local group = '= ' .. ARGV[3]
local others = redis.call('HGET', KEYS[6], group)
redis.call('HSET', KEYS[6], folded, ARGV[3], group, (others and others .. ' ' or '') .. folded)

local other = used_as(names_of(ARGV[1], KEYS[5], KEYS[6]), KEYS[1], KEYS[2], now)
if not other then return 1 end
end_checkout(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1])
return other
