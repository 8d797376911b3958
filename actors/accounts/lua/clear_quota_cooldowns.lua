-- End all cooldowns for a spent budget, after the limits have changed.
-- KEYS 1 cooldowns  2 cooldown reasons  3 hints (see acquire)
-- ARGV 1 the reason
local reasons = redis.call('HGETALL', KEYS[2])
for i = 1, #reasons, 2 do
  if reasons[i + 1] == ARGV[1] then
    redis.call('ZREM', KEYS[1], reasons[i])
    redis.call('HDEL', KEYS[2], reasons[i])
    redis.call('ZADD', KEYS[3], now_ms(), reasons[i])
  end
end
