-- Put in front of every script. All time is Redis server time, in milliseconds.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- What fails half-way is not undone: a key of a wrong type has to stop a script before its first write.
local function expect(sorted_sets, hashes)
  for _, key in ipairs(sorted_sets) do redis.call('ZCARD', key) end
  for _, key in ipairs(hashes) do redis.call('HLEN', key) end
end

-- A holder entry is "<fencing token> <since, ms> <holder>".
local function is_held_with(holders, account, token)
  local entry = redis.call('HGET', holders, account)
  return entry and string.sub(entry, 1, #token + 1) == token .. ' '
end

-- Nobody demands it. Below 0 is what somebody left who counted down twice; it is lost to nobody.
local function is_free(checkouts, account)
  local score = redis.call('ZSCORE', checkouts, account)
  return score and tonumber(score) <= 0
end

-- Make the score say, also to clients of the first BotAPI, that somebody has it.
local function demand(checkouts, account)
  if is_free(checkouts, account) then redis.call('ZADD', checkouts, 1, account) end
end

-- A token is newer than every other of the account, and also than those that a Redis which lost its last
-- writes has forgotten: no older than the time.
local function new_token(fencing, account, now)
  local token = math.max((redis.call('HGET', fencing, account) or 0) + 1, now)
  redis.call('HSET', fencing, account, token)
  return token
end

-- End a checkout so that a renewal which was on its way does not put it up again.
local function end_checkout(checkouts, leases, holders, fencing, account)
  redis.call('ZREM', leases, account)
  redis.call('HDEL', holders, account)
  redis.call('HINCRBY', fencing, account, 1)
  redis.call('ZADD', checkouts, 'XX', 0, account)
end

local DAY_MS = 86400000

-- The instant from which requests count against a budget, by the kind of window.
local function window_start(window, now)
  if window == 'utc-day' then return now - now % DAY_MS end
  return now - DAY_MS
end

-- Milliseconds until a full budget frees again. `key`: sorted set of requests, score = when.
local function frees_in(key, window, now, start)
  if window == 'utc-day' then return start + DAY_MS - now end
  local oldest = redis.call('ZRANGEBYSCORE', key, '(' .. start, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return oldest[2] and math.max(1, oldest[2] + DAY_MS - now) or 1
end

-- A token bucket of log-ons: what is in it now, and what it is left with.
local function tokens_in(bucket, burst, per_token, now)
  local tokens = tonumber(redis.call('HGET', bucket, 'tokens') or burst)
  local at = tonumber(redis.call('HGET', bucket, 'at') or now)
  return math.min(burst, tokens + math.max(0, now - at) / per_token)
end

local function leave_tokens(bucket, tokens, burst, per_token, now)
  redis.call('HSET', bucket, 'tokens', tokens, 'at', now)
  redis.call('PEXPIRE', bucket, math.ceil(burst * per_token) + 1000)
end
