-- Store what is known of a match now, and release the claim that brought it.
-- KEYS 1 the match  2 its claim
-- ARGV 1 the claim's token  2 ms to live  3 facts  4 json  5 protobuf; both empty where there is no match
-- `landed` is when, and grows each time, also twice in a millisecond.
local before = redis.pcall('HGET', KEYS[1], 'landed')
local landed = now_ms()
if type(before) == 'string' then landed = math.max(landed, (tonumber(before) or 0) + 1) end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'landed', landed, 'facts', ARGV[3], 'json', ARGV[4], 'protobuf', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if owner(KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
