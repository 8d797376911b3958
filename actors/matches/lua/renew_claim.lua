-- Keep a claim for longer. KEYS 1 the claim  ARGV 1 its token  2 ms from now
-- Returns 1, or 0 when it is not ours any more.
if owner(KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
