-- All accounts, for operators.
-- KEYS 1 checkouts  2 leases  3 holders  4 passwords  5 cooldowns  6 reasons  7 last log-ons  8 spellings
--      9 steam ids (see prelude)
-- ARGV 1 prefix of a budget's key  2 window
-- Returns {now, account, score, lease end, holder entry, has password, cooldown end, reason, used, last log-on, ms
-- until the first request frees, other name, ...}, with '' for a missing value. used: -1 where the budget cannot be
-- read; other name: another name of the same Steam account that is in use.
expect({KEYS[1], KEYS[2]}, {KEYS[9]})
local now = now_ms()
local start = window_start(ARGV[2], now)
refresh_spellings(KEYS[8], KEYS[1], KEYS[2], now)
local rows = {now}
local function put(value) rows[#rows + 1] = value or '' end
local function row(account, score)
  local names = names_of(account, KEYS[8], KEYS[9])
  put(account)
  put(score)
  put(redis.call('ZSCORE', KEYS[2], account))
  put(redis.call('HGET', KEYS[3], account))
  put(redis.call('HEXISTS', KEYS[4], account))
  put(redis.call('ZSCORE', KEYS[5], account))
  put(redis.call('HGET', KEYS[6], account))
  local used = used_of(names, ARGV[1], start)
  put(used or -1)
  put(redis.call('HGET', KEYS[7], account))
  put(used and used > 0 and frees_in_under(names, ARGV[1], ARGV[2], now, start))
  put(used_as(names, KEYS[1], KEYS[2], now))
end
local known = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #known, 2 do row(known[i], known[i + 1]) end
for _, account in ipairs(redis.call('HKEYS', KEYS[4])) do
  if not redis.call('ZSCORE', KEYS[1], account) then row(account, false) end
end
return rows
