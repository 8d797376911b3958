-- Add an account as the first BotAPI does; one that exists keeps its checkout and gets the new password.
-- A second spelling of an account that exists is not added: the caller is told the stored one.
-- KEYS 1 checkouts  2 leases  3 passwords  4 shared secrets  5 spellings  6 steam ids (see prelude)
--      7 hints (see acquire)  8 cooldowns  9 cooldown reasons  10 refused credentials
-- ARGV 1 account  2 password  3 shared secret; '' for either keeps the stored one
--      4 prefix of the reasons of cooldowns that new credentials end
-- Returns the name under which the account is stored; nothing is written unless that is ARGV[1]. Returns '' and
-- writes nothing where no password is given or stored.
expect({KEYS[1], KEYS[2], KEYS[7], KEYS[8]}, {KEYS[3], KEYS[4], KEYS[6], KEYS[9], KEYS[10]})
refresh_spellings(KEYS[5], KEYS[1], KEYS[2], now_ms())
local listed = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not listed and redis.call('HEXISTS', KEYS[3], ARGV[1]) == 0 then
  local folded = fold(ARGV[1])
  for _, name in ipairs(names_of(ARGV[1], KEYS[5], KEYS[6])) do
    if fold(name) == folded and redis.call('ZSCORE', KEYS[1], name) then return name end
  end
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
elseif redis.call('HEXISTS', KEYS[3], ARGV[1]) == 0 then
  return ''
end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[4], ARGV[1], ARGV[3]) end
redis.call('HDEL', KEYS[10], ARGV[1])
end_cooldown_for(ARGV[4], KEYS[8], KEYS[9], KEYS[7], ARGV[1])
if not listed then
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
  redis.call('ZADD', KEYS[7], 'NX', 0, ARGV[1])
  note_spelling(KEYS[5], ARGV[1])
  -- Count this account, so that the spellings are not rebuilt for each account of a large import.
  local _, at = string.match(redis.call('HGET', KEYS[5], ''), '^(%d+) (%d+)$')
  redis.call('HSET', KEYS[5], '', redis.call('ZCARD', KEYS[1]) .. ' ' .. at)
end
return ARGV[1]
