-- Keep a flight for longer. KEYS 1 the flight  ARGV 1 its token  2 ms from now
-- Returns 1, or 0 when it is not ours any more.
if pilot(KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
