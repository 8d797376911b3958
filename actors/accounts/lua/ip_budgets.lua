-- What is used of the budgets of egress IPs, for people.
-- KEYS the budgets  ARGV 1 window
-- Returns {used, ms until the first of it frees or '', ...}, as the keys are ordered; used: -1 where a key holds
-- another type.
local now = now_ms()
local start = window_start(ARGV[1], now)
local found = {}
for _, budget in ipairs(KEYS) do
  local used = used_of({''}, budget, start) or -1
  found[#found + 1] = used
  found[#found + 1] = used > 0 and frees_in(budget, ARGV[1], now, start) or ''
end
return found
