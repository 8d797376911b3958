-- Remove an account and everything stored for it, except the day counters that people read and the newest fencing
-- token: a holder notices the removal, also when the account is added again.
-- KEYS 1 checkouts  2 leases  3 holders  4 passwords  5 secrets  6 sentries  7 cooldowns  8 reasons  9 budget
--      10 last log-ons  11 fencing  12 spellings  13 steam ids  14 refused credentials
-- ARGV 1 account  2 '1' to remove it although it is checked out  3 prefix of a budget's key
-- Returns 1 when removed, 0 when it is in use, -1 when there is no such account.
local hashes = {KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]}
expect({KEYS[1], KEYS[2], KEYS[7]}, hashes)
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score and redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then return -1 end
local lease_ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or -1)
local in_use = lease_ends > now_ms() or (lease_ends < 0 and tonumber(score or 0) > 0)
if ARGV[2] ~= '1' and in_use then return 0 end
end_checkout(KEYS[1], KEYS[2], KEYS[3], KEYS[11], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
for _, key in ipairs({KEYS[4], KEYS[5], KEYS[6], KEYS[8], KEYS[10], KEYS[14]}) do
  redis.call('HDEL', key, ARGV[1])
end
redis.call('ZREM', KEYS[7], ARGV[1])
local folded, names = fold(ARGV[1]), names_of(ARGV[1], KEYS[12], KEYS[13])
local is_last_spelling, is_moved = true, false
for i = 2, #names do
  if redis.call('ZSCORE', KEYS[1], names[i]) then -- the Steam account stays under another name, which inherits the used budget
    if fold(names[i]) == folded then is_last_spelling = false end
    local budget = ARGV[3] .. names[i]
    if not is_moved then redis.pcall('ZUNIONSTORE', budget, 2, budget, KEYS[9], 'AGGREGATE', 'MAX') end
    redis.call('PEXPIRE', budget, DAY_MS)
    is_moved = true
  end
end
if folded and is_last_spelling then forget_steam_id(KEYS[13], folded) end
redis.call('DEL', KEYS[9])
return 1
