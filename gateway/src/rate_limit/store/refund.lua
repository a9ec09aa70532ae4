-- Gives back what was reserved for failures that did not happen, but not what has come back since by itself.
--
-- KEYS: one for each limit. ARGV, three for each: microseconds reserved, when, and the life of the key then. In another
-- life, after the store lost its data or all had come back, there is nothing to give back.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i, key in ipairs(KEYS) do
  local at = i * 3
  local reserved, since, born = tonumber(ARGV[at - 2]), tonumber(ARGV[at - 1]), ARGV[at]
  local kept = redis.call('GET', key)
  if kept then
    local arrival, life = string.match(kept, '^(%d+) (%d+)$')
    local back = reserved - math.max(now - since, 0)
    if life == born and back > 0 then
      local left = arrival - back - now
      if left > 0 then
        redis.call('SET', key, string.format('%.0f %s', now + left, life), 'PX', math.ceil(left / 1000))
      else
        redis.call('DEL', key)
      end
    end
  end
end
return 1
