-- Remember what is known of a match now, and end the flight that brought it.
-- KEYS 1 the match  2 its flight
-- ARGV 1 the flight's token  2 ms to live  3 facts  4 json  5 protobuf; both empty where there is no match
local landed = now_ms()
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'landed', landed, 'facts', ARGV[3], 'json', ARGV[4], 'protobuf', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if pilot(KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
