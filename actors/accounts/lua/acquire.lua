-- Check out one account: dead leases first, then ours from before, then the first that is usable.
-- `hints` holds accounts that were usable when they were last seen, so that nobody has to look through all
-- the others; each is checked again. Only when no hint holds are all free accounts looked through.
-- KEYS 1 checkouts  2 leases  3 holders  4 cooldowns  5 cooldown reasons  6 passwords  7 fencing  8 hints
-- ARGV 1 holder  2 lease ms  3 account this holder had before, or ''  4 key of a budget without the
--      account's name  5 budget per account  6 window  7 reason of cooldowns for a spent budget
--      8... accounts that this caller cannot use; others may
-- Returns {account, fencing token} or {false, ms until one is usable or -1, the same for budgets alone}.
expect({KEYS[1], KEYS[2], KEYS[4], KEYS[8]}, {KEYS[3], KEYS[5], KEYS[6], KEYS[7]})
local now = now_ms()

for _, account in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], account)
  redis.call('HDEL', KEYS[3], account)
  redis.call('ZADD', KEYS[1], 'XX', 0, account)
  redis.call('ZADD', KEYS[8], 0, account)
end
for _, account in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[4], account)
  redis.call('HDEL', KEYS[5], account)
  redis.call('ZADD', KEYS[8], 0, account)
end

-- Make it 1: whoever does so owns it, for clients of the first BotAPI, too.
local function lease_to_us(account)
  demand(KEYS[1], account)
  local token = new_token(KEYS[7], account, now)
  redis.call('ZADD', KEYS[2], now + ARGV[2], account)
  redis.call('HSET', KEYS[3], account, token .. ' ' .. now .. ' ' .. ARGV[1])
  return {account, token}
end

local function holder_of(account)
  local entry = redis.call('HGET', KEYS[3], account)
  return entry and string.match(entry, '^%d+ %d+ (.*)$')
end

if ARGV[3] ~= '' and holder_of(ARGV[3]) == ARGV[1] then return lease_to_us(ARGV[3]) end

local avoided = {}
for i = 8, #ARGV do avoided[ARGV[i]] = true end

local start, limit = window_start(ARGV[6], now), tonumber(ARGV[5])
local soonest, soonest_budget = -1, -1
local function not_before(ms, is_budget)
  if soonest < 0 or ms < soonest then soonest = ms end
  if is_budget and (soonest_budget < 0 or ms < soonest_budget) then soonest_budget = ms end
end

-- `lease_ends`: of a lease that is alive although the score says free, because somebody put it to 0.
local function is_usable(account, lease_ends, cool_until, password)
  if lease_ends or avoided[account] then return false end
  if cool_until then
    not_before(cool_until - now, redis.call('HGET', KEYS[5], account) == ARGV[7])
    return false
  end
  if not password then return false end
  local budget = ARGV[4] .. account
  if redis.call('ZCOUNT', budget, '(' .. start, '+inf') < limit then return true end
  not_before(frees_in(budget, ARGV[6], now, start), true)
  return false
end

local found
local passed_over = {}
while not found do
  local account = redis.call('ZPOPMIN', KEYS[8])[1]
  if not account then break end
  if avoided[account] then
    passed_over[#passed_over + 1] = account
  elseif is_free(KEYS[1], account) then
    local lease_ends = redis.call('ZSCORE', KEYS[2], account)
    local cool_until = redis.call('ZSCORE', KEYS[4], account)
    local password = redis.call('HEXISTS', KEYS[6], account) == 1
    if is_usable(account, lease_ends, cool_until, password) then found = account end
  end
end
for _, account in ipairs(passed_over) do redis.call('ZADD', KEYS[8], 0, account) end
if found then return lease_to_us(found) end

local offset, page, most_hints = 0, 1000, 100
repeat
  local free = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', 0, 'LIMIT', offset, page)
  if #free == 0 then break end
  local leases = redis.call('ZMSCORE', KEYS[2], unpack(free))
  local cool = redis.call('ZMSCORE', KEYS[4], unpack(free))
  local passwords = redis.call('HMGET', KEYS[6], unpack(free))
  for i, account in ipairs(free) do
    if is_usable(account, leases[i], cool[i], passwords[i]) then
      if not found then
        found = account
      else
        redis.call('ZADD', KEYS[8], 0, account)
        most_hints = most_hints - 1
      end
    end
    if most_hints == 0 then break end
  end
  offset = offset + page
until #free < page or most_hints == 0
if found then return lease_to_us(found) end
return {false, soonest, soonest_budget}
