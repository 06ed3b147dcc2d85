-- Reading by ids and terms in one step: where they lead, and the first of the entries there.

-- Bytes of a run in the manifest, before the body of a record of what waits to be folded, and of a posting in it.
local OF_RUN, RECORD, POSTING = 21, 14, 9
-- Bytes before the places of a term in a run, and of a place.
local BEFORE_PLACES, PLACE = 9, 3
-- What the place of a term is from on that leads to a list.
local LIST = 8388608
-- Bytes between two fences that are looked through here. With more a term is left to its caller.
local MOST_BETWEEN = 65536

-- What was read of a partition's terms is kept between calls, so that a call reads only what came since. It is good while it
-- is shown to be of the same history: the store and the log epoch are the same, and the newest event of that time is still in
-- the log, stored at the same instant. Within a history `pending` only grows until it is folded, and a run never changes
-- but for places that are removed, which are always read from the key.
local known_of, known_bytes, known_partitions = {}, 0, 0
-- With more of it all is forgotten, and read again where it is needed.
local MOST_KNOWN_BYTES, MOST_KNOWN_PARTITIONS = 16777216, 256
-- Bytes of fences that are read at once instead of two of them, for each time that a run was asked before.
local FENCES_A_CALL = 1024

local function forget_all()
  known_of, known_bytes, known_partitions = {}, 0, 0
end

-- Whether what is known is of the history that the partition has now.
local function is_of_history(known, now, log)
  if known.store ~= now.store or known.epoch ~= now.epoch then
    return false
  end
  if known.head == now.head and known.stored == now.stored then
    return true
  end
  local id = known.head .. '-' .. known.stored
  return #redis.call('XRANGE', log .. text(math.floor(tonumber(known.head) / CHUNK)), id, id) == 1
end

-- A piece of what waits to be folded, with where its records begin.
local function piece_of(waiting)
  local piece, at = { text = waiting, records = {} }, 1
  while at + RECORD <= #waiting do
    piece.records[#piece.records + 1] = at
    at = at + RECORD + struct.unpack('>I4', waiting, at + 6)
  end
  return piece
end

-- Adds a piece. Of the last two the former is at least twice as long, so that they are few.
local function add_piece(pieces, waiting)
  if waiting == '' then
    return
  end
  local piece = piece_of(waiting)
  while #pieces > 0 and #pieces[#pieces].text < 2 * #piece.text do
    local former = table.remove(pieces)
    local behind, records = #former.text, former.records
    for i = 1, #piece.records do
      records[#records + 1] = piece.records[i] + behind
    end
    piece = { text = former.text .. piece.text, records = records }
  end
  pieces[#pieces + 1] = piece
end

-- Brings what is known of `pending` up to now.
local function learn_pending(known, now, key)
  if known.folded ~= now.folded then
    known.pieces, known.length = {}, 0
  elseif known.head == now.head then
    return
  end
  local waiting = known.length == 0 and redis.call('GET', key) or redis.call('GETRANGE', key, known.length, -1)
  add_piece(known.pieces, waiting or '')
  known.length = known.length + #(waiting or '')
end

-- Brings what is known of the runs up to now.
local function learn_runs(known, key, before_runs)
  local listed = redis.call('GET', key) or ''
  if known.listed == listed then
    return
  end
  local runs, by_entry = {}, {}
  for at = 1, #listed, OF_RUN do
    local entry = string.sub(listed, at, at + OF_RUN - 1)
    local run = known.by_entry[entry]
    if not run then
      local base, through = struct.unpack('>I6I6', entry)
      local key = before_runs .. text(base) .. '-' .. text(through)
      run = { key = key, base = base, through = through, bits = string.byte(entry, 17), calls = 0, fences = nil }
    end
    runs[#runs + 1], by_entry[entry] = run, run
  end
  known.listed, known.runs, known.by_entry = listed, runs, by_entry
end

-- All fences of a run, where it is worth to have them.
local function fences_of(run)
  run.calls = run.calls + 1
  local bytes = 4 * (2 ^ run.bits + 1)
  if not run.fences and run.calls * FENCES_A_CALL >= bytes then
    local fences = redis.call('GETRANGE', run.key, 0, bytes - 1)
    run.fences = #fences == bytes and fences
  end
  return run.fences
end

-- What is known of a partition's terms, as it is now. KEYS: meta, what waits to be folded, the manifest of runs.
local function known_terms(keys, before_runs, log)
  local values = redis.call('HMGET', keys[1], 'store', 'epoch', 'head', 'stored', 'folded')
  local now = { store = values[1], epoch = values[2], head = values[3], stored = values[4], folded = values[5] }
  local known = known_of[before_runs]
  if not known or not is_of_history(known, now, log) then
    if not known then
      known_partitions = known_partitions + 1
    end
    known = { folded = '', listed = '', runs = {}, by_entry = {}, bytes = known and known.bytes or 0 }
    known_of[before_runs] = known
  end
  learn_pending(known, now, keys[2])
  learn_runs(known, keys[3], before_runs)
  known.store, known.epoch, known.head, known.stored, known.folded = unpack(values, 1, 5)
  return known
end

-- Counts what is kept of a partition, and forgets all where it is too much.
local function bound(known)
  local bytes = known.length + 16 * #known.listed
  for i = 1, #known.runs do
    bytes = bytes + #(known.runs[i].fences or '')
  end
  known_bytes, known.bytes = known_bytes + bytes - known.bytes, bytes
  if known_bytes > MOST_KNOWN_BYTES or known_partitions > MOST_KNOWN_PARTITIONS then
    forget_all()
  end
end

-- Where the terms of a run between the fences of a term begin, and the piece of the run that they are; nil where there is no such
-- run. `fences` are all of the run, where they are known.
local function between_fences(key, bits, term, most, fences)
  local at = 4 * math.floor(struct.unpack('>I4', term) / 2 ^ (32 - bits))
  local two = fences and string.sub(fences, at + 1, at + 8) or redis.call('GETRANGE', key, at, at + 7)
  if #two < 8 then
    return nil
  end
  local from, to = struct.unpack('>I4I4', two)
  local first = 4 * (2 ^ bits + 1) + from
  if to == from or to - from > most then
    return first, '', to > from
  end
  local piece = redis.call('GETRANGE', key, first, first + to - from - 1)
  return #piece == to - from and first, piece, false
end

-- Adds the sequences that a run has of a term. Whether that is all: the term has no list, few share its fences, and the run is
-- there.
local function in_run(run, term, out)
  local first, piece, is_left = between_fences(run.key, run.bits, term, MOST_BETWEEN, fences_of(run))
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
        out[#out + 1] = run.base + place
      end
    end
    at = string.find(piece, term, last, true)
  end
  return true
end

-- Adds the sequences of a term that a piece of what waits to be folded has.
local function in_pending(piece, term, out)
  local found, records, low = string.find(piece.text, term, 1, true), piece.records, 1
  while found and records[low] do
    -- The record that it is in: records follow each other.
    local high = #records
    while low < high do
      local middle = math.ceil((low + high) / 2)
      if records[middle] <= found then
        low = middle
      else
        high = middle - 1
      end
    end
    local base, _, postings = struct.unpack('>I6I4I4', piece.text, records[low])
    local place = found - records[low] - RECORD - postings
    if place >= 0 and place % POSTING == 0 then
      out[#out + 1] = base + string.byte(piece.text, found + 8)
    end
    found = string.find(piece.text, term, found + 1, true)
  end
end

-- The sequences of a term, or nil where they are not all looked for here.
local function of_term(known, term, low, high)
  local out = {}
  for i = 1, #known.runs do
    local run = known.runs[i]
    if run.through >= low and run.base < high and not in_run(run, term, out) then
      return nil
    end
  end
  for i = 1, #known.pieces do
    in_pending(known.pieces[i], term, out)
  end
  return out
end

-- KEYS: meta, what waits to be folded, the manifest of runs, the bucket of each id. ARGV: what the keys of runs, of the log and of the
-- replay counts begin with, 'up' or 'down', the least and the greatest sequence, how many entries; then the digests of the ids,
-- and the terms. Which runs and chunks are looked into is not known beforehand: their keys are not declared, but lie in the
-- same slot as those that are.
-- Answers for each id what its bucket has, and for each term its sequences (six bytes each) or '+' where they were not all
-- looked for; the sequences that were looked for (six bytes each), their entries, and (sequence, count) of those that were
-- replayed.
local function find(keys, args)
  local before_runs, log, counts, most = args[1], args[2], args[3], tonumber(args[7])
  local low, high, ids = tonumber(args[5]), tonumber(args[6]), #keys - 3
  local values, sequences, known = {}, {}, {}
  local function add(sequence)
    if sequence >= low and sequence <= high and not known[sequence] then
      known[sequence] = true
      sequences[#sequences + 1] = sequence
    end
  end
  for i = 1, ids do
    values[i] = redis.call('HGET', keys[3 + i], args[7 + i])
    if values[i] and values[i] ~= 'x' then
      add(tonumber(values[i]))
    end
  end
  local terms = #args - 7 - ids
  if terms > 0 then
    local index = known_terms(keys, before_runs, log)
    for i = ids + 1, ids + terms do
      local found = of_term(index, args[7 + i], low, high)
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
    bound(index)
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
