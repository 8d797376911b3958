-- The used part of the budgets of egress IPs.
-- KEYS the budgets  ARGV 1 window
-- Returns {used, ms until the first request frees or '', ...} in the order of the keys; used is -1 where a key holds
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
