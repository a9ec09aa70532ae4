-- Adds what a gateway has granted while it could not ask, whatever is left.
--
-- KEYS: one for each counter. ARGV, four for each: microseconds for one unit, burst, the backlog that the gateway knew of
-- before, for a store that has lost its data, and the microseconds that it granted. Values are those of `charge.lua`.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i, key in ipairs(KEYS) do
  local at = i * 4
  local most = tonumber(ARGV[at - 3]) * tonumber(ARGV[at - 2])
  local known, granted = tonumber(ARGV[at - 1]), tonumber(ARGV[at])
  local backlog, born = 0, now
  local kept = redis.call('GET', key)
  if kept then
    local arrival, since = string.match(kept, '^(%d+) (%d+)$')
    backlog = math.max(arrival - now, 0)
    if backlog > 0 then born = tonumber(since) end
  end
  backlog = math.min(math.max(backlog, known) + granted, most)
  if backlog > 0 then
    redis.call('SET', key, string.format('%.0f %.0f', now + backlog, born), 'PX', math.ceil(backlog / 1000))
  end
end
return 1
