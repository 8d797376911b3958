-- End a flight without a result; another instance may then take it.
-- KEYS 1 the flight  ARGV 1 its token
if pilot(KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
