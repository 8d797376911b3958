-- Take the tokens for a log-on from the bucket of an egress IP, unless the circuit breaker is open.
-- KEYS 1 bucket (hash: tokens, at)  2 circuit (hash: until, probe_until)
-- ARGV 1 burst (tokens)  2 ms per token, 0 for no limit  3 cost of this log-on (tokens)  4 ms for a probe
-- Returns {0, ''} to go ahead, or {ms to wait, 'pacing' or 'rate-limit'}.
-- Going ahead always starts with a write that needs memory: a Redis that cannot write (OOM, READONLY, MISCONF)
-- refuses it, so no log-on is spent whose result could not be stored.
local now = now_ms()

local open_until = number_of(redis.call('HGET', KEYS[2], 'until'), 0)
if open_until > now then return {open_until - now, 'rate-limit'} end
if open_until > 0 then -- half-open: one probe; other log-ons wait for its result
  local probe_until = number_of(redis.call('HGET', KEYS[2], 'probe_until'), 0)
  if probe_until > now then return {probe_until - now, 'rate-limit'} end
  redis.call('HSET', KEYS[2], 'probe_until', now + ARGV[4])
  return {0, ''}
end

local burst, per_token, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if per_token == 0 then
  local at = redis.call('HGET', KEYS[1], 'at') -- the bucket of an instance that has a limit stays unchanged
  redis.call('HSET', KEYS[1], 'at', at or now)
  if not at then redis.call('PEXPIRE', KEYS[1], 1000) end
  return {0, ''}
end
cost = math.min(cost, burst) -- a log-on that costs more than the burst takes all of it
local tokens = tokens_in(KEYS[1], burst, per_token, now)
if tokens < cost then return {math.ceil((cost - tokens) * per_token), 'pacing'} end
leave_tokens(KEYS[1], tokens - cost, burst, per_token, now)
return {0, ''}
