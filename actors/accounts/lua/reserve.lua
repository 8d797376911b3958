-- Count one request against the account's and the egress IP's budget, before it is sent.
-- KEYS 1 holders  2 leases  3 budget of the account  4 budget of the IP  5 spellings  6 steam ids
-- ARGV 1 account  2 fencing token  3 limit per account  4 limit per IP or -1  5 window
--      6 a name for this request, unique within a millisecond  7 front and 8 end of the day key
--      9 key of a budget without the account's name
-- Returns {'ok', left for the account, left for the IP} or {scope, ms until it frees}. Further keys and arguments
-- are those of a script in front of this one.
local spellings, steam_ids = KEYS[5], KEYS[6]
local now = now_ms()
local lease_ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
if lease_ends <= now or not is_held_with(KEYS[1], ARGV[1], ARGV[2]) then return {'lease', 0} end

local start = window_start(ARGV[5], now)
local function spent(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - DAY_MS)
  return redis.call('ZCOUNT', key, '(' .. start, '+inf')
end
local function count(key)
  redis.call('ZADD', key, now, now .. ':' .. ARGV[6])
  redis.call('PEXPIRE', key, DAY_MS)
end

-- Civil date of a day number (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
local z = math.floor(now / DAY_MS) + 719468
local era = math.floor(z / 146097)
local doe = z - era * 146097
local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
local mp = math.floor((5 * doy + 2) / 153)
local month = mp < 10 and mp + 3 or mp - 9
local year = yoe + era * 400 + (month <= 2 and 1 or 0)
local day = doy - math.floor((153 * mp + 2) / 5) + 1
local day_key = ARGV[7] .. string.format('%04d-%02d-%02d', year, month, day) .. ARGV[8]
expect({KEYS[3], KEYS[4], day_key}, {spellings, steam_ids})
local names = names_of(ARGV[1], spellings, steam_ids)
for _, name in ipairs(names) do expect({ARGV[9] .. name}, {}) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - DAY_MS)
local left = tonumber(ARGV[3]) - used_of(names, ARGV[9], start)
if left < 1 then return {'account', frees_in_under(names, ARGV[9], ARGV[5], now, start)} end
local limit_ip, left_ip = tonumber(ARGV[4]), -1
if limit_ip >= 0 then
  left_ip = limit_ip - spent(KEYS[4])
  if left_ip < 1 then return {'ip', frees_in(KEYS[4], ARGV[5], now, start)} end
  count(KEYS[4])
end
count(KEYS[3])
redis.call('ZINCRBY', day_key, 1, ARGV[1])
redis.call('EXPIRE', day_key, 8 * 86400)
return {'ok', left - 1, limit_ip >= 0 and left_ip - 1 or -1}
