-- Counting replays, beside the events and never in them: all positions of a call in one step.

local MOST_REPLAYS = 4294967295

-- The fields of a piece of a chunk's offsets that still hold an event.
local function held(log, base, offsets, from, to)
  local fields = {}
  for at = from, to, 4 do
    local offset = struct.unpack('>I4', offsets, at)
    local sequence = text(base + offset)
    if #redis.call('XRANGE', log, sequence, sequence) > 0 then
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
        for i = 1, #fields do
          local count = tonumber(string.match(known[i] or '0', '^%d+')) or 0
          values[2 * i - 1] = fields[i]
          values[2 * i] = text(math.min(count + 1, MOST_REPLAYS)) .. ':' .. args[1]
        end
        redis.call('HSET', counts, unpack(values))
      end
    end
  end
  return { 'ok' }
end

redis.register_function('er_replayed_VERSION', replayed)
