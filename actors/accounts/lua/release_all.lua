-- Release all accounts of holders whose names begin with a prefix, e.g. those of a process that ends.
-- KEYS 1 checkouts  2 leases  3 holders  4 hints (see acquire)  5 fencing
-- ARGV 1 prefix of the holder
-- Returns the accounts.
expect({KEYS[1], KEYS[2], KEYS[4]}, {KEYS[3], KEYS[5]})
local released = {}
local entries = redis.call('HGETALL', KEYS[3])
for i = 1, #entries, 2 do
  local account, holder = entries[i], string.match(entries[i + 1], '^%d+ %d+ (.*)$')
  if holder and string.sub(holder, 1, #ARGV[1]) == ARGV[1] then
    end_checkout(KEYS[1], KEYS[2], KEYS[3], KEYS[5], account)
    redis.call('ZADD', KEYS[4], now_ms(), account)
    released[#released + 1] = account
  end
end
return released
