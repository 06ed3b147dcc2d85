-- Counting replays, beside the events and never in them: all positions of a call in one step.

local MOST_REPLAYS = 4294967295

local function sequence_of(entries)
  return entries[1] and tonumber(string.match(entries[1][1], '^%d+'))
end

-- The first and the last sequence of a chunk, where it has an event at each between them. Looking for each event by itself takes
-- longer than counting it, and only what was erased leaves holes.
local function span(log)
  local first = sequence_of(redis.call('XRANGE', log, '-', '+', 'COUNT', 1))
  local last = sequence_of(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1))
  if first and redis.call('XLEN', log) == last - first + 1 then
    return first, last
  end
  return nil
end

-- The fields of a piece of a chunk's offsets that still hold an event.
local function held(log, base, offsets, from, to)
  local fields = {}
  local first, last = span(log)
  for at = from, to, 4 do
    local offset = struct.unpack('>I4', offsets, at)
    local sequence = base + offset
    local is_held
    if first then
      is_held = first <= sequence and sequence <= last
    else
      is_held = #redis.call('XRANGE', log, text(sequence), text(sequence)) > 0
    end
    if is_held then
      fields[#fields + 1] = text(offset)
    end
  end
  return fields
end

-- KEYS: meta, then (log, counts) of each chunk. ARGV: the instant in microseconds, then (chunk, packed offsets) of each.
local function replayed(keys, args)
  may(keys[1], 'HSET')
  load(keys[1])
  for k = 2, #keys, 2 do
    must_be(keys[k], 'stream')
    must_be(keys[k + 1], 'hash')
  end
  for k = 2, #keys, 2 do
    local counts, base, offsets = keys[k + 1], tonumber(args[k]) * CHUNK, args[k + 1]
    for from = 1, #offsets, 4 * 400 do
      local fields = held(keys[k], base, offsets, from, math.min(from + 4 * 400 - 1, #offsets))
      if #fields > 0 then
        local known, values = redis.call('HMGET', counts, unpack(fields)), {}
        local behind = ':' .. args[1]
        local once = '1' .. behind
        for i = 1, #fields do
          local before = known[i] and tonumber(string.match(known[i], '^%d+'))
          values[2 * i - 1] = fields[i]
          values[2 * i] = before and text(math.min(before + 1, MOST_REPLAYS)) .. behind or once
        end
        redis.call('HSET', counts, unpack(values))
      end
    end
  end
  return { 'ok' }
end

redis.register_function('er_replayed_VERSION', replayed)
