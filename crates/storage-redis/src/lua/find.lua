-- Reading by ids and terms in one step: where they lead, and the first of the entries there.

-- Bytes of a run in the manifest, and before the body of a record of what waits to be folded.
local OF_RUN, RECORD = 21, 14
-- Bytes before the places of a term in a run, and of a place.
local BEFORE_PLACES, PLACE = 9, 3
-- What the place of a term is from on that leads to a list.
local LIST = 8388608
-- Bytes between two fences that are looked through here. With more a term is left to its caller.
local MOST_BETWEEN = 65536

-- Where the terms of a run between the fences of a term begin, and the piece of the run that they are; nil where there is no such
-- run.
local function between_fences(key, bits, term, most)
  local fence = 4 * math.floor(struct.unpack('>I4', term) / 2 ^ (32 - bits))
  local fences = redis.call('GETRANGE', key, fence, fence + 7)
  if #fences < 8 then
    return nil
  end
  local from, to = struct.unpack('>I4I4', fences)
  local first = 4 * (2 ^ bits + 1) + from
  if to == from or to - from > most then
    return first, '', to > from
  end
  return first, redis.call('GETRANGE', key, first, first + to - from - 1), false
end

-- Adds the sequences that a run has of a term. Whether that is all: the term has no list, and few share its fences.
local function in_run(key, base, bits, term, out)
  local first, piece, is_left = between_fences(key, bits, term, MOST_BETWEEN)
  if not first or is_left then
    return false
  end
  local at = string.find(piece, term, 1, true)
  while at do
    local last = at + BEFORE_PLACES + PLACE * string.byte(piece, at + 8)
    for p = at + BEFORE_PLACES, last - PLACE, PLACE do
      local place = struct.unpack('>I3', piece, p)
      if place >= LIST then
        return false
      end
      if place > 0 then
        out[#out + 1] = base + place
      end
    end
    at = string.find(piece, term, last, true)
  end
  return true
end

-- Adds the sequences of a term that waits to be folded.
local function in_pending(pending, term, out)
  local found, at = string.find(pending, term, 1, true), 1
  while found and at <= #pending do
    local base, length, postings = struct.unpack('>I6I4I4', pending, at)
    local first, last = at + RECORD + postings, at + RECORD + length - 1
    while found and found <= last do
      local place = found - first
      if place >= 0 and place % 9 == 0 then
        out[#out + 1] = base + string.byte(pending, found + 8)
      end
      found = string.find(pending, term, found + 1, true)
    end
    at = last + 1
  end
end

-- The sequences of a term, or nil where they are not all looked for here.
local function of_term(pending, runs, before_runs, term, low, high)
  local out = {}
  for at = 1, #runs, OF_RUN do
    local base, through = struct.unpack('>I6I6', runs, at)
    if through >= low and base < high then
      local key = before_runs .. text(base) .. '-' .. text(through)
      if not in_run(key, base, string.byte(runs, at + 16), term, out) then
        return nil
      end
    end
  end
  in_pending(pending, term, out)
  return out
end

-- KEYS: what waits to be folded, the manifest of runs, the bucket of each id. ARGV: what the keys of runs, of the log and of the
-- replay counts begin with, 'up' or 'down', the least and the greatest sequence, how many entries; then the digests of the ids,
-- and the terms. Which runs and chunks are looked into is not known beforehand: their keys are not declared, but lie in the
-- same slot as those that are.
-- Answers for each id what its bucket has, and for each term its sequences (six bytes each) or '+' where they were not all
-- looked for; the sequences that were looked for (six bytes each), their entries, and (sequence, count) of those that were
-- replayed.
local function find(keys, args)
  local before_runs, log, counts, most = args[1], args[2], args[3], tonumber(args[7])
  local low, high, ids = tonumber(args[5]), tonumber(args[6]), #keys - 2
  local values, sequences, known = {}, {}, {}
  local function add(sequence)
    if sequence >= low and sequence <= high and not known[sequence] then
      known[sequence] = true
      sequences[#sequences + 1] = sequence
    end
  end
  for i = 1, ids do
    values[i] = redis.call('HGET', keys[2 + i], args[7 + i])
    if values[i] and values[i] ~= 'x' then
      add(tonumber(values[i]))
    end
  end
  local terms = #args - 7 - ids
  if terms > 0 then
    local pending, runs = redis.call('GET', keys[1]) or '', redis.call('GET', keys[2]) or ''
    for i = ids + 1, ids + terms do
      local found = of_term(pending, runs, before_runs, args[7 + i], low, high)
      values[i] = '+'
      if found then
        local packed = {}
        for j = 1, #found do
          packed[j] = struct.pack('>I6', found[j])
          add(found[j])
        end
        values[i] = table.concat(packed)
      end
    end
  end
  if args[4] == 'up' then
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
