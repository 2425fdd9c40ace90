-- kvcore.slots.refresh, for many slots.
--
-- KEYS: the slots. ARGV: for each slot the version that the store holds, its entry or "", a token, and a lifetime in
-- milliseconds.

for i, slot in ipairs(KEYS) do
  local stored, entry, token, lifetime_ms = ARGV[4 * i - 3], ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i]
  local head = redis.call('GETRANGE', slot, 0, 25)
  local becomes = 'what it was'
  if string.byte(head) == 76 then -- "L"
    becomes = redis.call('GET', slot) == 'L' .. token and entry or ''
  elseif head ~= '' then
    local held = string.sub(head, 3)
    if held < stored or held == stored and entry ~= '' then
      becomes = entry
    end
  end
  if becomes == '' then
    redis.call('DEL', slot)
  elseif becomes ~= 'what it was' then
    local failure = put(slot, becomes, lifetime_ms)
    if failure then
      return failure
    end
  end
end
return 1
