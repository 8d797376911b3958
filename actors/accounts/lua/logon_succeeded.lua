-- Close the circuit after a log-on that succeeded and told the egress IP. The tokens that were taken from the bucket
-- for unknown IPs count in the bucket of this IP, too; otherwise the IP would get two bursts.
-- KEYS 1 bucket asked so far  2 its circuit  3 bucket of the IP  4 its circuit
-- ARGV 1 burst (tokens)  2 ms per token, 0 for no limit
expect({}, KEYS)
local burst, per_token, now = tonumber(ARGV[1]), tonumber(ARGV[2]), now_ms()
redis.call('DEL', KEYS[2], KEYS[4])
if KEYS[1] == KEYS[3] or per_token == 0 then return 1 end
local left = math.min(
  tokens_in(KEYS[1], burst, per_token, now), tokens_in(KEYS[3], burst, per_token, now)
)
leave_tokens(KEYS[3], left, burst, per_token, now)
return 1
