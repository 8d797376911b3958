-- Release a claim without a result; another instance may then claim the match.
-- KEYS 1 the claim  ARGV 1 its token
if owner(KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
