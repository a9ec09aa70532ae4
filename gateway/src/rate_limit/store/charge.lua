-- Charges every limit of a request, or none: the generic cell rate algorithm on the clock of the store.
--
-- KEYS: one for each limit. ARGV, five for each: microseconds for one unit, burst, units asked for, 1 when the limit
-- refuses (0: shadow), and the backlog that the gateway knows of, for a store that has lost its data. A value is the theoretical arrival time and when this life of the key began, both in microseconds.
-- Answers whether the units were taken, the time, and for each limit the backlog before and the life of the key.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local asked, refused = {}, 0
for i, key in ipairs(KEYS) do
  local at = i * 5
  local interval, burst = tonumber(ARGV[at - 4]), tonumber(ARGV[at - 3])
  local cost, enforced, known = tonumber(ARGV[at - 2]), ARGV[at - 1] == '1', tonumber(ARGV[at])
  local backlog, born = 0, now
  local kept = redis.call('GET', key)
  if kept then
    local arrival, since = string.match(kept, '^(%d+) (%d+)$')
    -- More than the burst is the work of a clock that went back: it must not lock anybody out for long.
    backlog = math.min(math.max(arrival - now, 0), interval * burst)
    if backlog > 0 then born = tonumber(since) end
  end
  backlog = math.max(backlog, math.min(known, interval * burst))
  local wanted = backlog + interval * cost
  local granted = wanted <= interval * burst
  if enforced and not granted then refused = 1 end
  asked[i] = { backlog, born, wanted, granted }
end
local answer = { 1 - refused, now }
for i, key in ipairs(KEYS) do
  local backlog, born, wanted, granted = unpack(asked[i])
  if refused == 0 and granted then
    redis.call('SET', key, string.format('%.0f %.0f', now + wanted, born), 'PX', math.ceil(wanted / 1000))
  end
  answer[i * 2 + 1], answer[i * 2 + 2] = backlog, born
end
return answer
