-- Reading by terms in one step: what buckets hold, and the first of the entries that it names.

-- The sequences that a value of the dictionary names.
local function named(value)
  local sequences = {}
  if not value or value == PROMOTED or value == 'x' then
    return sequences
  end
  if string.find(value, '^%d+$') then
    return { tonumber(value) }
  end
  for at = 1, #value - 5, 6 do
    sequences[#sequences + 1] = struct.unpack('>I6', value, at)
  end
  return sequences
end

-- KEYS: the bucket of each digest. ARGV: what the keys of the log and of the replay counts begin with, 'up' or 'down', the
-- least and the greatest sequence, how many entries; then the digests. The chunks that the entries lie in are not known
-- beforehand: their keys are not declared, but lie in the same slot as those that are.
-- Answers the values, the sequences that were looked for (six bytes each), their entries, and (sequence, count) of those
-- that were replayed.
local function find(keys, args)
  local log, counts, low, high, most = args[1], args[2], tonumber(args[4]), tonumber(args[5]), tonumber(args[6])
  local values, sequences, known = {}, {}, {}
  for i = 1, #keys do
    values[i] = redis.call('HGET', keys[i], args[6 + i])
    for _, sequence in ipairs(named(values[i])) do
      if sequence >= low and sequence <= high and not known[sequence] then
        known[sequence] = true
        sequences[#sequences + 1] = sequence
      end
    end
  end
  if args[3] == 'up' then
    table.sort(sequences)
  else
    table.sort(sequences, function(one, other) return one > other end)
  end
  local looked, entries, replays, replayed = {}, {}, {}, {}
  for i = 1, math.min(#sequences, most) do
    local sequence = sequences[i]
    local chunk, id = math.floor(sequence / CHUNK), text(sequence)
    looked[i] = struct.pack('>I6', sequence)
    local found = redis.call('XRANGE', log .. text(chunk), id, id)
    entries[#entries + 1] = found[1]
    if replayed[chunk] == nil then
      replayed[chunk] = redis.call('EXISTS', counts .. text(chunk)) == 1
    end
    if replayed[chunk] then
      local count = redis.call('HGET', counts .. text(chunk), text(sequence % CHUNK))
      if count then
        replays[#replays + 1] = id
        replays[#replays + 1] = count
      end
    end
  end
  return { values, table.concat(looked), entries, replays }
end

redis.register_function{ function_name = 'er_find_VERSION', callback = find, flags = { 'no-writes' } }
