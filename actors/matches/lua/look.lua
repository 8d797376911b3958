-- Return what is known of a match; if nothing is, take its flight, unless another instance has it.
-- KEYS 1 the match  2 its flight
-- ARGV 1 a unique token  2 ms for which a flight is taken
--      3 only what landed after that will do: 0 for anything, -1 for what lands from now on
-- Returns {'known', landed, facts, json, protobuf}, {'yours', after} or {'theirs', after}; `after` is for
-- the next look.
local entry = redis.pcall('HMGET', KEYS[1], 'landed', 'facts', 'json', 'protobuf')
local landed = not entry.err and tonumber(entry[1] or nil) or 0
local after = tonumber(ARGV[3])
if after < 0 then after = landed end
if landed > after then return {'known', landed, entry[2], entry[3], entry[4]} end

local token = pilot(KEYS[2])
if token and token ~= ARGV[1] then return {'theirs', after} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'yours', after}
