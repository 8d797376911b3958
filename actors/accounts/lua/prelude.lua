-- Put in front of every script. All time is Redis server time, in milliseconds.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Note the time. Checkouts and renewals do so: a bot that waits asks every 7.5 s at most, and a lease is renewed
-- every third of its length. A longer pause since the last note was a step of the clock, a restart on an old snapshot
-- or a time in which nothing ran. It does not count against any lease, so that holders that are alive renew first.
-- After a step back leases end no later than before it; one that an older version, which notes no time, has renewed
-- since then ends before the time of the last note and stays as it is.
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

-- Every holder has a lease, unless Redis has lost it (DEL, an eviction). It gets a new one: the holder renews it, or
-- the account is free when it ends. Without, the account of a dead holder would look like a first BotAPI client's.
-- A holder that is no bot logs on by hand, with a lease of 15 minutes that is not renewed.
local function restore_leases(holders, leases, now, lease_ms)
  if redis.call('HLEN', holders) <= redis.call('ZCARD', leases) then return end
  local entries = redis.call('HGETALL', holders)
  for i = 1, #entries, 2 do
    local is_bot = string.find(entries[i + 1], '/bot%-%d+$')
    redis.call('ZADD', leases, 'NX', now + (is_bot and lease_ms or 900000), entries[i])
  end
end

-- What fails half-way is not undone: a key of a wrong type has to stop a script before its first write.
local function expect(sorted_sets, hashes)
  for _, key in ipairs(sorted_sets) do redis.call('ZCARD', key) end
  for _, key in ipairs(hashes) do redis.call('HLEN', key) end
end

-- A number out of a text that any client may have written; `default` where the text is no number to compute
-- with. Texts of numbers from 1e14 on lose digits in Lua.
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

-- No client holds it. A client that counted down twice leaves a score below 0: that is free, too.
local function is_free(checkouts, account)
  local score = redis.call('ZSCORE', checkouts, account)
  return score and tonumber(score) <= 0
end

-- Mark the account as checked out in the score, also for clients of the first BotAPI.
local function demand(checkouts, account)
  if is_free(checkouts, account) then redis.call('ZADD', checkouts, 1, account) end
end

-- A fencing token that is no number is as none: the next one replaces it.
local function newest_token(fencing, account)
  return math.floor(number_of(redis.call('HGET', fencing, account), 0))
end

-- A token is newer than every other of the account, and also than those that a Redis which lost its last
-- writes has forgotten: no older than the time.
local function new_token(fencing, account, now)
  local token = math.max(newest_token(fencing, account) + 1, now)
  redis.call('HSET', fencing, account, token)
  return token
end

-- End a checkout so that a renewal which was on its way does not put it up again.
local function end_checkout(checkouts, leases, holders, fencing, account)
  local held = number_of(string.match(redis.call('HGET', holders, account) or '', '^(%d+) '), 0)
  redis.call('ZREM', leases, account)
  redis.call('HDEL', holders, account)
  redis.call('HSET', fencing, account, math.max(newest_token(fencing, account), held) + 1)
  redis.call('ZADD', checkouts, 'XX', 0, account)
end

-- A holder uses one account. Others that a Redis which went back to an old state knows of it are used by nothing.
local function end_others_of(holder, account, checkouts, leases, holders, fencing)
  local entries = redis.call('HGETALL', holders)
  for i = 1, #entries, 2 do
    if entries[i] ~= account and string.match(entries[i + 1], '^%d+ %d+ (.*)$') == holder then
      end_checkout(checkouts, leases, holders, fencing, entries[i])
    end
  end
end

-- Steam ignores the case of a name and white space around it: the folded name. Nil for a name that Steam
-- cannot have: Steam's names are 1 to 64 printable ASCII characters, and no backslash. See `folded` in names.py.
local function fold(name)
  if #name > 64 then return nil end
  local folded = name
  if string.find(name, '[%u%s]') then folded = string.lower(string.match(name, '^%s*(.-)%s*$')) end
  if folded == '' or string.find(folded, '[^!-~]') or string.find(folded, '\\', 1, true) then return nil end
  return folded
end

-- `spellings`: folded name -> the stored names that differ from it, each followed by \127. Other clients add
-- names, too, so all are looked through when the number of accounts has changed, and once a minute. What was
-- spent under a name counts also when it is no longer listed: nothing is taken out.
-- Its field '' is "<number of accounts> <looked through at, ms>".
local SPELLINGS_LAST_MS = 60000

local function note_spelling(spellings, name)
  if not string.find(name, '[%u%s]') then return end -- folded as it is
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

-- Which of the names but the first is leased, or checked out by a client of the first BotAPI; nil for none.
local function used_as(names, checkouts, leases, now)
  for i = 2, #names do
    local lease_ends = redis.call('ZSCORE', leases, names[i])
    if lease_ends and tonumber(lease_ends) > now then return names[i] end
    local score = redis.call('ZSCORE', checkouts, names[i])
    if score and tonumber(score) > 0 then return names[i] end
  end
end

local DAY_MS = 86400000

-- The instant from which requests count against a budget, by the kind of window.
local function window_start(window, now)
  if window == 'utc-day' then return now - now % DAY_MS end
  return now - DAY_MS
end

-- Milliseconds until a full budget frees again. `key`: sorted set of requests, score = when.
local function frees_in(key, window, now, start)
  if window == 'utc-day' then return start + DAY_MS - now end
  local oldest = redis.call('ZRANGEBYSCORE', key, '(' .. start, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return oldest[2] and math.min(DAY_MS, math.max(1, oldest[2] + DAY_MS - now)) or 1
end

-- Requests that count against the budget of an account, under all its names; nil where one of the keys holds
-- another type. `front`: a budget's key without the account's name.
local function used_of(names, front, start)
  local used = 0
  for _, name in ipairs(names) do
    local under = redis.pcall('ZCOUNT', front .. name, '(' .. start, '+inf')
    if type(under) ~= 'number' then return nil end
    used = used + under
  end
  return used
end

-- The same as `frees_in`, of the budget of an account under all its names.
local function frees_in_under(names, front, window, now, start)
  local soonest = DAY_MS
  for _, name in ipairs(names) do
    if redis.call('ZCOUNT', front .. name, '(' .. start, '+inf') > 0 then
      soonest = math.min(soonest, frees_in(front .. name, window, now, start))
    end
  end
  return soonest
end

-- A token bucket of log-ons: what is in it now, and what it is left with.
local function tokens_in(bucket, burst, per_token, now)
  local tokens = math.max(0, number_of(redis.call('HGET', bucket, 'tokens'), burst))
  local at = number_of(redis.call('HGET', bucket, 'at'), now)
  return math.min(burst, tokens + math.max(0, now - at) / per_token)
end

local function leave_tokens(bucket, tokens, burst, per_token, now)
  redis.call('HSET', bucket, 'tokens', tokens, 'at', now)
  redis.call('PEXPIRE', bucket, math.ceil(burst * per_token) + 1000)
end

-- What a person has stored for an account, as one value to compare. It tells no more than the values beside it.
local function credentials_of(passwords, secrets, account)
  local password, secret = redis.call('HGET', passwords, account), redis.call('HGET', secrets, account)
  return redis.sha1hex((password or '') .. '\0' .. (secret or ''))
end

-- End the cooldown of an account if its reason begins with `front`. Returns whether it did.
local function end_cooldown_for(front, cooldowns, reasons, hints, account)
  local reason = redis.call('HGET', reasons, account)
  if not reason or string.sub(reason, 1, #front) ~= front then return false end
  redis.call('ZREM', cooldowns, account)
  redis.call('HDEL', reasons, account)
  redis.call('ZADD', hints, 0, account)
  return true
end
