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

-- Raises the counts of events by one. `offsets` are their places in the chunk, four bytes each; `at` is the instant, in
-- nanoseconds.
local function count_replay(log, counts, chunk, offsets, at)
  local base, behind = tonumber(chunk) * CHUNK, ':' .. at
  for from = 1, #offsets, 4 * 400 do
    local fields = held(log, base, offsets, from, math.min(from + 4 * 400 - 1, #offsets))
    if #fields > 0 then
      local known, values = redis.call('HMGET', counts, unpack(fields)), {}
      for i = 1, #fields do
        local before = known[i] and tonumber(string.match(known[i], '^%d+'))
        values[2 * i - 1] = fields[i]
        values[2 * i] = text(math.min((before or 0) + 1, MOST_REPLAYS)) .. behind
      end
      redis.call('HSET', counts, unpack(values))
    end
  end
end
