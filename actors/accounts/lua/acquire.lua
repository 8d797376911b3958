-- Check out one account: expire leases and cooldowns, then take the account that this holder had, or else the
-- first usable one.
-- `hints` is a queue of accounts that were usable when last seen, in the order in which they became free, so that
-- most checkouts do not scan all accounts; each hint is checked again. An account that fails and is released goes to
-- the end. The empty name in the queue stands for all free accounts that are not in it: they are scanned when it is
-- its turn, when the number of accounts has changed, or when no hint is usable.
-- An account is not leased while another name of the same Steam account is in use, or if Steam cannot have its name.
-- KEYS 1 checkouts  2 leases  3 holders  4 cooldowns  5 cooldown reasons  6 passwords  7 fencing  8 hints
--      9 spellings  10 steam ids (see prelude)  11 server time
-- ARGV 1 holder  2 lease ms  3 account that this holder had, '*' for any that it has, or ''; with either, all other
--        checkouts of this holder end
--      4 prefix of a budget's key  5 budget per account  6 window
--      7 reason of cooldowns for a spent budget  8... accounts that the caller cannot use
-- Returns {account, fencing token} or {false, ms until one is usable or -1, the same for budgets alone}.
local spellings, steam_ids = KEYS[9], KEYS[10]
expect({KEYS[1], KEYS[2], KEYS[4], KEYS[8]}, {KEYS[3], KEYS[5], KEYS[6], KEYS[7], steam_ids})
local now = now_ms()
local SCAN_EVERY_MS = 10000 -- the empty name enters the queue this long after the last scan
note_time(KEYS[11], KEYS[2], now, tonumber(ARGV[2]))
restore_leases(KEYS[3], KEYS[2], now, ARGV[2])

for _, account in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  end_checkout(KEYS[1], KEYS[2], KEYS[3], KEYS[7], account)
  redis.call('ZADD', KEYS[8], now, account)
end
for _, account in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[4], account)
  redis.call('HDEL', KEYS[5], account)
  redis.call('ZADD', KEYS[8], now, account)
end
local has_new = refresh_spellings(spellings, KEYS[1], KEYS[2], now)

-- The score 1 tells clients of the first BotAPI, too, that the account is checked out.
local function lease_to_us(account)
  local token = new_token(KEYS[7], account, now)
  mark_checked_out(KEYS[1], account)
  note_spelling(spellings, account)
  redis.call('ZADD', KEYS[2], now + ARGV[2], account)
  redis.call('HSET', KEYS[3], account, token .. ' ' .. now .. ' ' .. ARGV[1])
  if ARGV[3] ~= '' then end_others_of(ARGV[1], account, KEYS[1], KEYS[2], KEYS[3], KEYS[7]) end
  return {account, token}
end

local function holder_of(account)
  local entry = redis.call('HGET', KEYS[3], account)
  return entry and string.match(entry, '^%d+ %d+ (.*)$')
end

if fold(ARGV[3]) and holder_of(ARGV[3]) == ARGV[1] then return lease_to_us(ARGV[3]) end
if ARGV[3] == '*' then -- an earlier checkout may have succeeded without an answer
  for _, account in ipairs(redis.call('HKEYS', KEYS[3])) do
    if fold(account) and holder_of(account) == ARGV[1] then return lease_to_us(account) end
  end
end

local avoided = {}
for i = 8, #ARGV do avoided[ARGV[i]] = true end

local start, limit = window_start(ARGV[6], now), tonumber(ARGV[5])
local soonest, soonest_budget = -1, -1
local function not_before(ms, is_budget)
  if soonest < 0 or ms < soonest then soonest = ms end
  if is_budget and (soonest_budget < 0 or ms < soonest_budget) then soonest_budget = ms end
end

-- `lease_ends`: of a lease that is valid although the score is 0, because another client set it.
local function is_usable(account, lease_ends, cool_until, password)
  if lease_ends or avoided[account] or not fold(account) then return false end
  if cool_until then
    local wait = math.min(cool_until - now, 1e14) -- an infinite one is not an integer
    not_before(wait, redis.call('HGET', KEYS[5], account) == ARGV[7])
    return false
  end
  if not password then return false end
  local names = names_of(account, spellings, steam_ids)
  if used_as(names, KEYS[1], KEYS[2], now) then return false end
  local used = used_of(names, ARGV[4], start)
  if not used then return false end -- its budget cannot be read: an operator has to act
  if used < limit then return true end
  not_before(frees_in_under(names, ARGV[4], ARGV[6], now, start), true)
  return false
end

-- Return the first usable account of the queue before the empty name; accounts to avoid go to the end.
local function first_hint()
  local found
  local passed_over = {}
  while not found do
    local account = redis.call('ZPOPMIN', KEYS[8])[1]
    if not account or account == '' then break end
    if avoided[account] then
      passed_over[#passed_over + 1] = account
    elseif is_free(KEYS[1], account) then
      local lease_ends = redis.call('ZSCORE', KEYS[2], account)
      local cool_until = redis.call('ZSCORE', KEYS[4], account)
      local password = redis.call('HEXISTS', KEYS[6], account) == 1
      if is_usable(account, lease_ends, cool_until, password) then found = account end
    end
  end
  for _, account in ipairs(passed_over) do redis.call('ZADD', KEYS[8], now, account) end
  return found
end

if has_new then
  redis.call('ZADD', KEYS[8], 0, '')
else
  redis.call('ZADD', KEYS[8], 'NX', now + SCAN_EVERY_MS, '')
end
local first = first_hint()
if first then return lease_to_us(first) end

local offset, page, most_hints = 0, 1000, 100
repeat
  local free = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', 0, 'LIMIT', offset, page)
  if #free == 0 then break end
  local leases = redis.call('ZMSCORE', KEYS[2], unpack(free))
  local cool = redis.call('ZMSCORE', KEYS[4], unpack(free))
  local passwords = redis.call('HMGET', KEYS[6], unpack(free))
  for i, account in ipairs(free) do
    if is_usable(account, leases[i], cool[i], passwords[i]) then
      redis.call('ZADD', KEYS[8], 'NX', 0, account)
      most_hints = most_hints - 1
    end
    if most_hints == 0 then break end
  end
  offset = offset + page
until #free < page or most_hints == 0
first = first_hint()
redis.call('ZADD', KEYS[8], now + SCAN_EVERY_MS, '')
if first then return lease_to_us(first) end
return {false, soonest, soonest_budget}
