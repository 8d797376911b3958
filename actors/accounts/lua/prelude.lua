-- Prefix of every script. All times are Redis server time, in milliseconds.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Record the time. Checkouts and renewals do so: a waiting bot asks at least every 7.5 s, and a lease is renewed every
-- third of its length. A longer pause since the last record was a step of the clock, a restart on an old snapshot or
-- a time in which no instance ran. It does not count against any lease, so that live holders can renew first.
-- After a step back leases end no later than before it. A lease that an older version, which records no time, has
-- renewed since then ends before the recorded time and stays unchanged.
local function note_time(key, leases, now, lease_ms)
  local before = tonumber(redis.call('GET', key) or '') or now
  local pause, from = now - before, nil
  if pause > math.max(8000, lease_ms / 2) then from = '-inf' end
  if pause < -lease_ms then from = before end
  if from then
    for _, account in ipairs(redis.call('ZRANGEBYSCORE', leases, from, '+inf')) do
      redis.call('ZINCRBY', leases, pause, account)
    end
  end
  redis.call('SET', key, now)
end

-- Give a new lease to every holder whose lease Redis has lost (DEL, an eviction): the holder renews it, or it lapses.
-- Without a lease the account of a dead holder would look like that of a client of the first BotAPI, which is never
-- taken. A holder that is not a bot is an operator who logs on by hand, with a lease of 15 minutes.
local function restore_leases(holders, leases, now, lease_ms)
  if redis.call('HLEN', holders) <= redis.call('ZCARD', leases) then return end
  local entries = redis.call('HGETALL', holders)
  for i = 1, #entries, 2 do
    local is_bot = string.find(entries[i + 1], '/bot%-%d+$')
    redis.call('ZADD', leases, 'NX', now + (is_bot and lease_ms or 900000), entries[i])
  end
end

-- Fail on a key of the wrong type before the first write: Redis does not undo the writes of a script that fails.
local function expect(sorted_sets, hashes)
  for _, key in ipairs(sorted_sets) do redis.call('ZCARD', key) end
  for _, key in ipairs(hashes) do redis.call('HLEN', key) end
end

-- The number in a text that any client may have written; `default` where it is not a finite number below 1e14, from
-- which on Lua's texts of numbers lose digits.
local function number_of(text, default)
  local number = tonumber(text)
  if not number or number ~= number or math.abs(number) >= 1e14 then return default end
  return number
end

-- A holder entry is "<fencing token> <since, ms> <holder>".
local function is_held_with(holders, account, token)
  local entry = redis.call('HGET', holders, account)
  return entry and string.sub(entry, 1, #token + 1) == token .. ' '
end

-- Whether the score says free; a client of the first BotAPI that counted down twice leaves one below 0.
local function is_free(checkouts, account)
  local score = redis.call('ZSCORE', checkouts, account)
  return score and tonumber(score) <= 0
end

-- Set the score, which tells clients of the first BotAPI that the account is checked out.
local function mark_checked_out(checkouts, account)
  if is_free(checkouts, account) then redis.call('ZADD', checkouts, 1, account) end
end

-- The newest fencing token; 0 where there is none, or a text that is not a number.
local function newest_token(fencing, account)
  return math.floor(number_of(redis.call('HGET', fencing, account), 0))
end

-- Make a token that is newer than all others of the account, also than those of writes that Redis lost: at least the
-- present time.
local function new_token(fencing, account, now)
  local token = math.max(newest_token(fencing, account) + 1, now)
  redis.call('HSET', fencing, account, token)
  return token
end

-- End a checkout; the new fencing token keeps a renewal that is under way from restoring it.
local function end_checkout(checkouts, leases, holders, fencing, account)
  local held = number_of(string.match(redis.call('HGET', holders, account) or '', '^(%d+) '), 0)
  redis.call('ZREM', leases, account)
  redis.call('HDEL', holders, account)
  redis.call('HSET', fencing, account, math.max(newest_token(fencing, account), held) + 1)
  redis.call('ZADD', checkouts, 'XX', 0, account)
end

-- End the holder's other checkouts, which only a Redis that went back to an old state has: a holder uses one account.
local function end_others_of(holder, account, checkouts, leases, holders, fencing)
  local entries = redis.call('HGETALL', holders)
  for i = 1, #entries, 2 do
    if entries[i] ~= account and string.match(entries[i + 1], '^%d+ %d+ (.*)$') == holder then
      end_checkout(checkouts, leases, holders, fencing, entries[i])
    end
  end
end

-- The form that all spellings of a name share: Steam ignores case and surrounding white space. Nil for a name that
-- Steam cannot have: its names are 1 to 64 printable ASCII characters without backslash. See `folded` in formats.py.
local function fold(name)
  if #name > 64 then return nil end
  local folded = name
  if string.find(name, '[%u%s]') then folded = string.lower(string.match(name, '^%s*(.-)%s*$')) end
  if folded == '' or string.find(folded, '[^!-~]') or string.find(folded, '\\', 1, true) then return nil end
  return folded
end

-- `spellings`: folded name -> the stored names that differ from it, each followed by \127. Other clients add names,
-- too, so all names are scanned when the number of accounts has changed, and once a minute. Names are never removed:
-- requests under a name that is no longer listed still count.
-- The field '' is "<number of accounts> <time of the scan, ms>".
local SPELLINGS_LAST_MS = 60000

local function note_spelling(spellings, name)
  if not string.find(name, '[%u%s]') then return end -- the folded form itself
  local folded = fold(name)
  if not folded then return end
  local known = redis.call('HGET', spellings, folded) or ''
  if string.find('\127' .. known, '\127' .. name .. '\127', 1, true) then return end
  redis.call('HSET', spellings, folded, known .. name .. '\127')
end

-- Returns whether the number of accounts has changed.
local function refresh_spellings(spellings, checkouts, leases, now)
  local marker = redis.pcall('HGET', spellings, '')
  if type(marker) == 'table' then redis.call('DEL', spellings) end -- of another type
  local count = redis.call('ZCARD', checkouts)
  local counted, at = string.match(type(marker) == 'string' and marker or '', '^(%d+) (%d+)$')
  local age = now - number_of(at, 0)
  if tonumber(counted) == count and age >= 0 and age < SPELLINGS_LAST_MS then return end
  for _, key in ipairs({checkouts, leases}) do
    for _, name in ipairs(redis.call('ZRANGE', key, 0, -1)) do note_spelling(spellings, name) end
  end
  redis.call('HSET', spellings, '', count .. ' ' .. now)
  return tonumber(counted) ~= count
end

-- `steam_ids`: folded name -> SteamID64, and "= <SteamID64>" -> its folded names, separated by spaces.
local function forget_steam_id(steam_ids, folded)
  local id = redis.call('HGET', steam_ids, folded)
  if not id then return end
  redis.call('HDEL', steam_ids, folded)
  local left = {}
  for name in string.gmatch(redis.call('HGET', steam_ids, '= ' .. id) or '', '%S+') do
    if name ~= folded then left[#left + 1] = name end
  end
  redis.call('HDEL', steam_ids, '= ' .. id)
  if #left > 0 then redis.call('HSET', steam_ids, '= ' .. id, table.concat(left, ' ')) end
end

-- The names of one Steam account, `account` first: other spellings, and names that got the same SteamID64.
local function names_of(account, spellings, steam_ids)
  local folded = fold(account)
  if not folded then return {account} end
  local names, seen = {account}, {[account] = true}
  local function add(name)
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  local function add_spellings(of)
    add(of)
    for name in string.gmatch(redis.call('HGET', spellings, of) or '', '[^\127]+') do add(name) end
  end
  add_spellings(folded)
  local id = redis.call('HGET', steam_ids, folded)
  for other in string.gmatch(id and redis.call('HGET', steam_ids, '= ' .. id) or '', '%S+') do
    add_spellings(other)
  end
  return names
end

-- The first of the names, without names[1], that is leased or checked out by a client of the first BotAPI, or nil.
local function used_as(names, checkouts, leases, now)
  for i = 2, #names do
    local lease_ends = redis.call('ZSCORE', leases, names[i])
    if lease_ends and tonumber(lease_ends) > now then return names[i] end
    local score = redis.call('ZSCORE', checkouts, names[i])
    if score and tonumber(score) > 0 then return names[i] end
  end
end

local DAY_MS = 86400000

-- The time from which on requests count against a budget.
local function window_start(window, now)
  if window == 'utc-day' then return now - now % DAY_MS end
  return now - DAY_MS
end

-- Milliseconds until the oldest request of a budget stops counting. `key`: sorted set of requests, score = time.
local function frees_in(key, window, now, start)
  if window == 'utc-day' then return start + DAY_MS - now end
  local oldest = redis.call('ZRANGEBYSCORE', key, '(' .. start, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return oldest[2] and math.min(DAY_MS, math.max(1, oldest[2] + DAY_MS - now)) or 1
end

-- The number of requests that count against the budget of an account under all its names; nil where a key holds
-- another type. `front`: prefix of a budget's key.
local function used_of(names, front, start)
  local used = 0
  for _, name in ipairs(names) do
    local under = redis.pcall('ZCOUNT', front .. name, '(' .. start, '+inf')
    if type(under) ~= 'number' then return nil end
    used = used + under
  end
  return used
end

-- `frees_in` for an account under all its names.
local function frees_in_under(names, front, window, now, start)
  local soonest = DAY_MS
  for _, name in ipairs(names) do
    if redis.call('ZCOUNT', front .. name, '(' .. start, '+inf') > 0 then
      soonest = math.min(soonest, frees_in(front .. name, window, now, start))
    end
  end
  return soonest
end

-- The tokens in a bucket now; `leave_tokens` writes the rest.
local function tokens_in(bucket, burst, per_token, now)
  local tokens = math.max(0, number_of(redis.call('HGET', bucket, 'tokens'), burst))
  local at = number_of(redis.call('HGET', bucket, 'at'), now)
  return math.min(burst, tokens + math.max(0, now - at) / per_token)
end

local function leave_tokens(bucket, tokens, burst, per_token, now)
  redis.call('HSET', bucket, 'tokens', tokens, 'at', now)
  redis.call('PEXPIRE', bucket, math.ceil(burst * per_token) + 1000)
end

-- A digest of the stored credentials of an account, to be compared. It reveals no more than the credentials beside it.
local function credentials_of(passwords, secrets, account)
  local password, secret = redis.call('HGET', passwords, account), redis.call('HGET', secrets, account)
  return redis.sha1hex((password or '') .. '\0' .. (secret or ''))
end

-- End the cooldown of an account if its reason begins with `prefix`. Returns whether it did.
local function end_cooldown_for(prefix, cooldowns, reasons, hints, account)
  local reason = redis.call('HGET', reasons, account)
  if not reason or string.sub(reason, 1, #prefix) ~= prefix then return false end
  redis.call('ZREM', cooldowns, account)
  redis.call('HDEL', reasons, account)
  redis.call('ZADD', hints, 0, account)
  return true
end
