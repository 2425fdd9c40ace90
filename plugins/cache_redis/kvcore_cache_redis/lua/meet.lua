-- Notes the era of a master with the master itself, and returns for how many milliseconds it has been known there.
--
-- KEYS: the record. ARGV: the era. A server that has never known another era answers with a very long time: nobody can
-- be using one.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HGET', KEYS[1], 'era')
if known ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'era', ARGV[1], 'since_ms', known and now_ms or 0, 'evictions', 0)
end
return now_ms - redis.call('HGET', KEYS[1], 'since_ms')
