-- What is known of every account, for people.
-- KEYS 1 checkouts  2 leases  3 holders  4 passwords  5 cooldowns  6 reasons  7 last log-ons
-- ARGV 1 key of a budget without the account's name  2 window
-- Returns {now, account, score, lease ends, holder entry, has password, cooldown ends, reason, used, last,
-- ms until the first of what is used frees, ...} with '' for what is not there.
local now = now_ms()
local start = window_start(ARGV[2], now)
local rows = {now}
local function put(value) rows[#rows + 1] = value or '' end
local function row(account, score)
  put(account)
  put(score)
  put(redis.call('ZSCORE', KEYS[2], account))
  put(redis.call('HGET', KEYS[3], account))
  put(redis.call('HEXISTS', KEYS[4], account))
  put(redis.call('ZSCORE', KEYS[5], account))
  put(redis.call('HGET', KEYS[6], account))
  local budget = ARGV[1] .. account
  local used = redis.call('ZCOUNT', budget, '(' .. start, '+inf')
  put(used)
  put(redis.call('HGET', KEYS[7], account))
  put(used > 0 and frees_in(budget, ARGV[2], now, start))
end
local known = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #known, 2 do row(known[i], known[i + 1]) end
for _, account in ipairs(redis.call('HKEYS', KEYS[4])) do
  if not redis.call('ZSCORE', KEYS[1], account) then row(account, false) end
end
return rows
