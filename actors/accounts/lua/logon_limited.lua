-- Steam answered "too many log-ons": open the circuit of this IP.
-- KEYS 1 circuit      ARGV 1 ms
local pause = tonumber(ARGV[1])
redis.call('HSET', KEYS[1], 'until', now_ms() + pause)
redis.call('HDEL', KEYS[1], 'probe_until')
redis.call('PEXPIRE', KEYS[1], pause + DAY_MS)
return 1
