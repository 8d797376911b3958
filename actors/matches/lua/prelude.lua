-- Put in front of every script here. All time is Redis server time, in milliseconds.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Return the token of a claim's owner, or nil. A key of another type, or without an expiry, has no owner:
-- `lookup` overwrites it.
local function owner(claim)
  local token = redis.pcall('GET', claim)
  if type(token) == 'string' and redis.call('PTTL', claim) >= 0 then return token end
  return nil
end
