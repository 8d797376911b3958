-- Undo `logon_ask` for a log-on that did not reach Steam: return its tokens, or allow another probe.
-- KEYS 1 bucket  2 circuit
-- ARGV 1 burst (tokens)  2 ms per token, 0 for no limit  3 cost of that log-on (tokens)
expect({}, KEYS)
local now = now_ms()
if redis.call('HGET', KEYS[2], 'until') then
  redis.call('HDEL', KEYS[2], 'probe_until')
  return 1
end
local burst, per_token = tonumber(ARGV[1]), tonumber(ARGV[2])
if per_token == 0 then return 1 end
local tokens = tokens_in(KEYS[1], burst, per_token, now) + math.min(tonumber(ARGV[3]), burst)
leave_tokens(KEYS[1], math.min(burst, tokens), burst, per_token, now)
return 1
