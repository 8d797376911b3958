-- Steam let somebody in, and said which egress IP that was: the circuit is closed, and what was taken from
-- the bucket that we shared while nobody knew the IP counts for the IP too, or it had two bursts.
-- KEYS 1 bucket asked so far  2 its circuit  3 bucket of the IP  4 its circuit
-- ARGV 1 burst (tokens)  2 ms per token, 0 for no pacing
redis.call('DEL', KEYS[2], KEYS[4])
local burst, per_token = tonumber(ARGV[1]), tonumber(ARGV[2])
if KEYS[1] == KEYS[3] or per_token == 0 then return 1 end
local now = now_ms()
local function tokens_in(bucket)
  local tokens = tonumber(redis.call('HGET', bucket, 'tokens') or burst)
  local at = tonumber(redis.call('HGET', bucket, 'at') or now)
  return math.min(burst, tokens + math.max(0, now - at) / per_token)
end
redis.call('HSET', KEYS[3], 'tokens', math.min(tokens_in(KEYS[1]), tokens_in(KEYS[3])), 'at', now)
redis.call('PEXPIRE', KEYS[3], math.ceil(burst * per_token) + 1000)
return 1
