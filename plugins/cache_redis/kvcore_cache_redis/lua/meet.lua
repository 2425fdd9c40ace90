-- Notes the era of a master with the master itself, and returns for how many milliseconds it has been known there.
--
-- KEYS: the record. ARGV: the era, and "1" where the server itself tells that it has taken over from another. A server
-- that knows of no other era answers with a very long time: nobody can be using one.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HGET', KEYS[1], 'era')
if known ~= ARGV[1] then
  -- The record may be gone, as after FLUSHALL; hence the server's own word.
  local since_ms = (known or ARGV[2] == '1') and now_ms or 0
  redis.call('HSET', KEYS[1], 'era', ARGV[1], 'since_ms', since_ms, 'evictions', 0)
end
local known_ms = now_ms - redis.call('HGET', KEYS[1], 'since_ms')
if known_ms < 0 then -- the clock was set back
  redis.call('HSET', KEYS[1], 'since_ms', now_ms)
  return 0
end
return known_ms
