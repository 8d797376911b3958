-- Return what is known of a match; if nothing is, claim it, unless another instance has the claim. Where
-- reserve.lua follows, it then counts a request for it.
-- KEYS the last two: the match, its claim     before them: those of reserve.lua, if it follows
-- ARGV the last three: a unique token, ms for which the match is claimed, and: only what was published
--      after that will do (0 for anything, -1 for what is published from now on)
-- Returns {'known', published, facts, json, protobuf}, {'theirs', after}, {'yours', after} or what
-- reserve.lua returns; `after` is for the next lookup.
local match, claim = KEYS[#KEYS - 1], KEYS[#KEYS]
local token, claim_ms, after = ARGV[#ARGV - 2], ARGV[#ARGV - 1], tonumber(ARGV[#ARGV])
local entry = redis.pcall('HMGET', match, 'landed', 'facts', 'json', 'protobuf')
local published = not entry.err and tonumber(entry[1] or nil) or 0
if after < 0 then after = published end
if published > after then return {'known', published, entry[2], entry[3], entry[4]} end

local owned_by = owner(claim)
if owned_by and owned_by ~= token then return {'theirs', after} end
redis.call('SET', claim, token, 'PX', claim_ms)
if #KEYS == 2 then return {'yours', after} end

