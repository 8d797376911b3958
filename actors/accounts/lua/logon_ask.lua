-- May a log-on start from this egress IP now? A token bucket, and a circuit that Steam's rate limit opens.
-- KEYS 1 bucket (hash: tokens, at)  2 circuit (hash: until, probe_until)
-- ARGV 1 burst (tokens)  2 ms per token, 0 for no pacing  3 cost of this log-on (tokens)  4 ms for a probe
-- Returns {0, ''} to go ahead, or {ms to wait, 'pacing' or 'rate-limit'}.
-- To go ahead is always a write that needs memory, and the first one: a Redis that cannot write (OOM,
-- READONLY, MISCONF) refuses it, and no log-on is spent whose outcome could not be stored.
local now = now_ms()

local open_until = number_of(redis.call('HGET', KEYS[2], 'until'), 0)
if open_until > now then return {open_until - now, 'rate-limit'} end
if open_until > 0 then -- half-open: one probe, and no other log-on until its result is known
  local probe_until = number_of(redis.call('HGET', KEYS[2], 'probe_until'), 0)
  if probe_until > now then return {probe_until - now, 'rate-limit'} end
  redis.call('HSET', KEYS[2], 'probe_until', now + ARGV[4])
  return {0, ''}
end

local burst, per_token, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if per_token == 0 then
  local at = redis.call('HGET', KEYS[1], 'at') -- where another instance paces, its bucket stays as it is
  redis.call('HSET', KEYS[1], 'at', at or now)
  if not at then redis.call('PEXPIRE', KEYS[1], 1000) end
  return {0, ''}
end
cost = math.min(cost, burst) -- a log-on dearer than the whole bucket takes all of it
local tokens = tokens_in(KEYS[1], burst, per_token, now)
if tokens < cost then return {math.ceil((cost - tokens) * per_token), 'pacing'} end
leave_tokens(KEYS[1], tokens - cost, burst, per_token, now)
return {0, ''}
