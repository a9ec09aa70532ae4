-- Says how many gateways count in the store: all that have spoken of late, this one among them.
--
-- KEYS: the list. ARGV: who speaks, and for how many seconds its word holds. A value is each one's name and when it spoke.
local now = tonumber(redis.call('TIME')[1])
local list, count = ARGV[1] .. ' ' .. now, 1
for name, spoke in string.gmatch(redis.call('GET', KEYS[1]) or '', '(%x+) (%d+)') do
  local silent = now - tonumber(spoke)
  -- Who has spoken in the time to come did so before the clock went back.
  if name ~= ARGV[1] and silent >= 0 and silent < tonumber(ARGV[2]) then
    list, count = list .. ' ' .. name .. ' ' .. spoke, count + 1
  end
end
redis.call('SET', KEYS[1], list, 'EX', ARGV[2])
return count
