-- Put in front of every script. All time is Redis server time, in milliseconds.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A holder entry is "<fencing token> <since, ms> <holder>".
local function is_held_with(holders, account, token)
  local entry = redis.call('HGET', holders, account)
  return entry and string.sub(entry, 1, #token + 1) == token .. ' '
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
