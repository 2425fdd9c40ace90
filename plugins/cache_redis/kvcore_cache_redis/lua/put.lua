-- Fills a slot; returns nil, or the error that the server answered. Of a server without memory for it the slot is
-- taken away, since it must not keep an older entry either.
local function put(slot, entry, lifetime_ms)
  local reply = redis.pcall('SET', slot, entry, 'PX', lifetime_ms)
  if type(reply) == 'table' and reply.err then
    if not string.find(reply.err, 'OOM', 1, true) then
      return reply
    end
    redis.call('DEL', slot)
  end
end
