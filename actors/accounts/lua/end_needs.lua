-- End the cooldowns of accounts whose refused credentials have been replaced, by whatever client.
-- KEYS 1 refused credentials  2 passwords  3 shared secrets  4 cooldowns  5 cooldown reasons  6 hints (see acquire)
-- ARGV 1 prefix of the reasons of such cooldowns
-- Returns the number of cooldowns that ended.
expect({KEYS[4], KEYS[6]}, {KEYS[1], KEYS[2], KEYS[3], KEYS[5]})
local ended = 0
local refused = redis.call('HGETALL', KEYS[1])
for i = 1, #refused, 2 do
  if credentials_of(KEYS[2], KEYS[3], refused[i]) ~= refused[i + 1] then
    redis.call('HDEL', KEYS[1], refused[i])
    if end_cooldown_for(ARGV[1], KEYS[4], KEYS[5], KEYS[6], refused[i]) then ended = ended + 1 end
  end
end
return ended
