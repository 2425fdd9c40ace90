-- kvcore.slots.reserve, for many slots; and the one place where slots are added, and so where room is made.
--
-- KEYS: the slots. ARGV: the most keys, the most bytes, the start of all keys of the namespace, the start of those of
-- this era, the record of the era; then for each slot a token, "reader" or "writer", and a lifetime in milliseconds.
-- Returns for each slot 1 (granted), 0 (taken), or the version of the entry that is there.

local max_keys, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local namespace, era, record = ARGV[3], ARGV[4], ARGV[5]

-- Evictions are bounded, so that one call never takes long; a cache far beyond its limits shrinks over many calls.
local SAMPLE = 5
local evictions_left = #KEYS + 32
local evicted = 0

-- Of a few keys at random, the one that nobody reads any more (its era is over), or that would end first. Pending
-- entries live longest, so they go last. What has no lifetime, or is outside the namespace, is not ours.
local function next_victim()
  local victim, least
  for _ = 1, SAMPLE do
    local key = redis.call('RANDOMKEY')
    if key and string.sub(key, 1, #namespace) == namespace then
      if string.sub(key, 1, #era) ~= era then
        return key
      end
      local left = redis.call('PTTL', key)
      if left >= 0 and (not least or left < least) then
        victim, least = key, left
      end
    end
  end
  return victim
end

-- Evicts one slot; returns the bytes that it took, or nil where there was none to evict.
local function evict()
  local victim = evictions_left > 0 and next_victim()
  if not victim then
    return nil
  end
  local bytes = redis.call('MEMORY', 'USAGE', victim) or 0
  redis.call('DEL', victim)
  evictions_left = evictions_left - 1
  evicted = evicted + 1
  return bytes
end

local function fit_into_memory()
  local info = redis.call('INFO', 'memory')
  local used = tonumber(string.match(info, 'used_memory:(%d+)'))
  -- 0: none. Beyond it the server may refuse the entry that is to come, so there must be some room left below.
  local servers_max = tonumber(string.match(info, 'maxmemory:(%d+)'))
  local excess = used - (servers_max > 0 and math.min(0.9 * servers_max, max_bytes) or max_bytes)
  while excess > 0 do
    local freed = evict()
    if not freed then
      return
    end
    excess = excess - freed
  end
end

local function make_room_for_one_more()
  while redis.call('DBSIZE') >= max_keys do
    if not evict() then
      return
    end
  end
end

fit_into_memory()
local answers = {}
for i, slot in ipairs(KEYS) do
  local token, who, lifetime_ms = ARGV[3 * i + 3], ARGV[3 * i + 4], ARGV[3 * i + 5]
  local head = redis.call('GETRANGE', slot, 0, 25)
  local is_lease = string.byte(head) == 76 -- "L"
  if head == '' or is_lease and who == 'writer' then
    if head == '' then
      make_room_for_one_more()
    end
    redis.call('SET', slot, 'L' .. token, 'PX', lifetime_ms)
    answers[i] = 1
  elseif is_lease then
    answers[i] = redis.call('GET', slot) == 'L' .. token and 1 or 0
  else
    answers[i] = string.sub(head, 3)
  end
end
if evicted > 0 then
  redis.call('HINCRBY', record, 'evictions', evicted)
end
return answers
