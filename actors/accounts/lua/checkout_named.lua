-- Check out one account by name, for an operator who logs on by hand; cooldowns and budgets do not matter.
-- KEYS 1 checkouts  2 leases  3 holders  4 passwords  5 fencing  6 spellings  7 steam ids
-- ARGV 1 account  2 holder  3 lease ms
-- Returns the fencing token, 0 when the account is in use, -1 when there is no such account, or the other name of the
-- same Steam account that is in use.
expect({KEYS[1], KEYS[2]}, {KEYS[3], KEYS[4], KEYS[5], KEYS[7]})
if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then return -1 end
local now = now_ms()
local lease_ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or -1)
local score = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if lease_ends > now or (lease_ends < 0 and score > 0) then return 0 end
refresh_spellings(KEYS[6], KEYS[1], KEYS[2], now)
local other = used_as(names_of(ARGV[1], KEYS[6], KEYS[7]), KEYS[1], KEYS[2], now)
if other then return other end
redis.call('ZADD', KEYS[1], 1, ARGV[1])
note_spelling(KEYS[6], ARGV[1])
local token = new_token(KEYS[5], ARGV[1], now)
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], token .. ' ' .. now .. ' ' .. ARGV[2])
return token
