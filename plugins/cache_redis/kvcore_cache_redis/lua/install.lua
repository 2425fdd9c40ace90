-- kvcore.slots.install, for many slots.
--
-- KEYS: the slots. ARGV: for each slot an entry, a token, and a lifetime in milliseconds.

-- Versions are compared as text: lowercase hex digits sort alike under every locale that Redis may run with.

for i, slot in ipairs(KEYS) do
  local entry, token, lifetime_ms = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local head = redis.call('GETRANGE', slot, 0, 25)
  local failure
  if string.byte(head) == 76 then -- "L"
    if redis.call('GET', slot) == 'L' .. token then
      failure = put(slot, entry, lifetime_ms)
    end
  elseif head ~= '' and string.sub(head, 3) < string.sub(entry, 3, 26) then
    failure = put(slot, entry, lifetime_ms)
  end
  if failure then
    return failure
  end
end
return 1
