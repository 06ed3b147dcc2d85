-- Removing: events of one chunk out of the log and out of every index, in one step; and rewriting a chunk, since what
-- is deleted from the midst of a stream stays in memory and in snapshots.

SAMPLES.XDEL = { '0-1' }
SAMPLES.LREM = { '1', 'v' }
SAMPLES.LPUSH = { 'v' }
SAMPLES.SADD = { 'm' }
SAMPLES.SREM = { 'm' }

-- Values that one command is given at most.
local PIECE = 1000
-- Up to so many values are searched for one by one; beyond, a part of the list is rewritten.
local SEARCHED = 16

local function push(command, list, values)
  for from = 1, #values, PIECE do
    redis.call(command, list, unpack(values, from, math.min(from + PIECE - 1, #values)))
  end
end

-- The place of the first value of a rising list that is not below a number; its length where there is none.
local function place_of(list, length, number)
  local low, high = 0, length
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', list, middle)) < number then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Takes numbers, which rise, out of a list, which rises too. Whether nothing is left of it.
local function thin_out(list, gone)
  local heads = redis.call('LRANGE', list, 0, #gone - 1)
  local are_heads = #heads == #gone
  for i = 1, #heads do
    are_heads = are_heads and tonumber(heads[i]) == gone[i]
  end
  if are_heads then
    redis.call('LTRIM', list, #gone, -1)
    return redis.call('EXISTS', list) == 0
  end
  if #gone <= SEARCHED then
    for i = 1, #gone do
      redis.call('LREM', list, 1, text(gone[i]))
    end
    return redis.call('EXISTS', list) == 0
  end
  local is_gone, length = {}, redis.call('LLEN', list)
  for i = 1, #gone do
    is_gone[gone[i]] = true
  end
  -- What lies before the first of them or behind the last is left alone, whichever is more.
  local first, last = place_of(list, length, gone[1]), place_of(list, length, gone[#gone] + 1)
  local from_front = last <= length - first
  local part = from_front and redis.call('LRANGE', list, 0, last - 1) or redis.call('LRANGE', list, first, -1)
  local left = {}
  for i = 1, #part do
    local value = part[from_front and #part + 1 - i or i]
    if not is_gone[tonumber(value)] then
      left[#left + 1] = value
    end
  end
  if from_front then
    redis.call('LTRIM', list, last, -1)
    push('LPUSH', list, left)
  else
    -- Nothing before the first: the whole list is rewritten.
    if first == 0 then
      redis.call('UNLINK', list)
    else
      redis.call('LTRIM', list, 0, first - 1)
    end
    push('RPUSH', list, left)
  end
  return redis.call('EXISTS', list) == 0
end

local function picked(numbers, indices)
  local out = { string.byte(indices, 1, -1) }
  for i = 1, #out do
    out[i] = numbers[out[i]]
  end
  return out
end

-- Takes events of a term out of a run, if there is one, or out of the list that the term has in the chunk. `places` are those
-- of the events in the run, three bytes each. Whether nothing is left of the list.
local function forget_term(run, bits, term, places, list, offsets)
  local wanted, left = {}, {}
  for i = 1, #offsets do
    wanted[string.sub(places, 3 * i - 2, 3 * i)] = offsets[i]
  end
  local first, piece = 0, ''
  if run then
    first, piece = between_fences(run, bits, term, math.huge)
  end
  local at = string.find(piece, term, 1, true)
  while at do
    local last, others = at + BEFORE_PLACES + PLACE * string.byte(piece, at + 8), false
    for p = at + BEFORE_PLACES, last - PLACE, PLACE do
      local place = string.sub(piece, p, p + PLACE - 1)
      if wanted[place] then
        redis.call('SETRANGE', run, first + p - 1, '\0\0\0')
        wanted[place] = nil
      elseif place ~= '\0\0\0' then
        others = true
      end
    end
    if not others then
      redis.call('SETRANGE', run, first + at - 1, string.rep('\0', 8))
    end
    at = string.find(piece, term, last, true)
  end
  for _, offset in pairs(wanted) do
    left[#left + 1] = offset
  end
  table.sort(left)
  if not run then
    left = offsets
  end
  return #left > 0 and redis.call('EXISTS', list) == 1 and thin_out(list, left)
end

-- Takes removed events out of the counts, from the place of the field that says whether there are any. A count that is zero has
-- no field.
local function count_out(key, args, a, is_gone)
  if not is_counted(key, args[a]) then
    return
  end
  for at = a + 2, a + 2 * tonumber(args[a + 1]), 2 do
    local gone = 0
    for i = 1, #args[at + 1] do
      if is_gone[string.byte(args[at + 1], i)] then
        gone = gone + 1
      end
    end
    if gone > 0 and redis.call('HINCRBY', key, args[at], -gone) <= 0 then
      redis.call('HDEL', key, args[at])
    end
  end
end

-- Frees ids, or refuses them from now on. By how much the dictionary shrank.
local function forget_ids(keys, ids, k, sequences, erase)
  local fields = 0
  for i = 1, #ids do
    if ids[i] ~= '' then
      local value = redis.call('HGET', keys[k + i], ids[i])
      if erase then
        fields = fields - redis.call('HSET', keys[k + i], ids[i], 'x')
      elseif value == text(sequences[i]) then
        fields = fields + redis.call('HDEL', keys[k + i], ids[i])
      end
    end
  end
  return fields
end

-- KEYS: meta, log of the chunk, chunks, directory of the chunk, replay counts of the chunk, holes, unscrubbed, the chunk's
-- copy, the counts of events; long lists, runs, the list of each term, bucket of each id. ARGV: chunk, level, split, 'prefix', 'middle' or
-- 'erase', counts of events, long lists and terms, the bits of each run's fences as bytes; then (entry, digest of the id or '',
-- bytes) of each event, (field, indices) of each long list, (term, field, number of its run or 0, places, indices)
-- of each term; the field of the counts that says through which sequence events are counted, how many counts change, and
-- (field, indices) of each; then
-- kinds, program and data of a transaction that goes with it. Answers how many events went, their bytes, how many went from
-- the chunk's midst so far, and how many it has.
local function remove(keys, args)
  may(keys[1], 'XDEL', 'LTRIM', 'LREM', 'LPUSH', 'RPUSH', 'HSET', 'HDEL', 'HINCRBY', 'ZREM', 'SADD', 'SREM', 'UNLINK',
    'SETRANGE')
  local meta = load(keys[1])
  if raised(keys[1], meta) or meta.level ~= args[2] or meta.split ~= args[3] then
    return moved(meta)
  end
  local chunk, mode, bits = args[1], args[4], args[8]
  local n, longs, terms, runs = tonumber(args[5]), tonumber(args[6]), tonumber(args[7]), #bits
  local event_args = 8
  local long_args = event_args + 3 * n
  local term_args = long_args + 2 * longs
  local run_keys = 9 + longs
  local term_keys = run_keys + runs
  local id_keys = term_keys + terms
  local count_args = term_args + 5 * terms + 1
  local with_args = count_args + 1 + 2 * tonumber(args[count_args + 1])
  local sequences, offsets, ids, removed, bytes = {}, {}, {}, 0, 0
  for i = 1, n do
    local a = event_args + 3 * i
    sequences[i] = tonumber(string.match(args[a - 2], '^%d+'))
    offsets[i] = sequences[i] % CHUNK
    ids[i] = args[a - 1]
  end
  if tonumber(meta.pending or '0') > 0 and sequences[n] > tonumber(meta.folded or '0') then
    return { 'fold' }
  end
  for i = 1, runs do
    -- Merged into another, it is gone.
    if redis.call('STRLEN', keys[run_keys + i]) == 0 then
      return moved(meta)
    end
  end
  local with = planned(keys, id_keys + n, args[with_args + 1], args[with_args + 2], args, with_args + 3)
  local outcome = judged(with, meta.epoch)[1]
  if type(outcome) == 'number' and outcome < 0 then
    return { 'refused', -outcome }
  end
  must_be(keys[2], 'stream')
  must_be(keys[9], 'hash')
  for i = 1, longs do
    must_be(keys[9 + i], 'list')
  end
  for i = 1, terms do
    must_be(keys[term_keys + i], 'list')
  end
  for i = 1, n do
    must_be(keys[id_keys + i], 'hash')
  end

  local is_gone = {}
  for i = 1, n do
    local a = event_args + 3 * i
    -- One by one: of those that had gone before, the bytes do not count.
    if redis.call('XDEL', keys[2], args[a - 2]) == 1 then
      removed, bytes, is_gone[i] = removed + 1, bytes + tonumber(args[a]), true
    end
  end
  count_out(keys[9], args, count_args, is_gone)
  redis.call('HDEL', keys[5], unpack(offsets))
  for i = 1, longs do
    if thin_out(keys[9 + i], picked(offsets, args[long_args + 2 * i])) then
      redis.call('HDEL', keys[4], args[long_args + 2 * i - 1])
    end
  end
  for i = 1, terms do
    local a = term_args + 5 * i
    local number = tonumber(args[a - 2])
    local run = number > 0 and keys[run_keys + number]
    if forget_term(run, string.byte(bits, number), args[a - 4], args[a - 1], keys[term_keys + i],
        picked(offsets, args[a])) then
      redis.call('HDEL', keys[4], args[a - 3])
    end
  end
  local fields = forget_ids(keys, ids, id_keys, sequences, mode == 'erase')
  local left, holes = redis.call('XLEN', keys[2]), 0
  if left == 0 then
    redis.call('UNLINK', keys[2], keys[5], keys[8])
    redis.call('HDEL', keys[6], chunk)
    redis.call('SREM', keys[7], chunk)
    -- Entries that belong to no event stay known, so that they are found.
    if redis.call('EXISTS', keys[4]) == 0 then
      redis.call('ZREM', keys[3], chunk)
    end
    if meta.chunk == chunk then
      redis.call('HSET', keys[1], 'chunk', '')
    end
  else
    if mode ~= 'prefix' then
      holes = redis.call('HINCRBY', keys[6], chunk, removed)
    end
    if mode == 'erase' then
      redis.call('SADD', keys[7], chunk)
    end
  end
  redis.call('HSET', keys[1], 'events', text(tonumber(meta.events) - removed), 'bytes', text(tonumber(meta.bytes) - bytes),
    'fields', text(tonumber(meta.fields) - fields))
  if mode ~= 'erase' then
    local trimmed = tonumber(redis.call('HGET', keys[1], 'trimmed') or '0')
    redis.call('HSET', keys[1], 'trimmed', text(math.max(trimmed, sequences[n])))
  end
  perform(with)
  redis.call('HINCRBY', keys[1], 'removals', 1)
  return { 'ok', removed, bytes, holes, left }
end

-- Copies entries of a chunk behind those that were copied, and puts the copy in the place of the chunk when all are there.
-- KEYS: meta, log of the chunk, its copy, holes, unscrubbed. ARGV: chunk, count, the id of the last entry that was copied
-- or '' to begin, removals when it began.
local function rewrite(keys, args)
  may(keys[1], 'XADD', 'HDEL', 'SREM', 'UNLINK')
  if not redis.acl_check_cmd('RENAME', keys[3], keys[2]) then
    error({ err = 'NOPERM this user may not run RENAME' })
  end
  must_be(keys[2], 'stream')
  local count, from = tonumber(args[2]), '-'
  raised(keys[1], load(keys[1]))
  -- What was removed meanwhile may have been copied already.
  if (redis.call('HGET', keys[1], 'removals') or '0') ~= args[4] then
    return { 'moved' }
  end
  if args[3] == '' then
    redis.call('UNLINK', keys[3])
  else
    must_be(keys[3], 'stream')
    local last = redis.call('XREVRANGE', keys[3], '+', '-', 'COUNT', 1)
    if not last[1] or last[1][1] ~= args[3] then
      return { 'moved' }
    end
    from = '(' .. args[3]
  end
  local entries = redis.call('XRANGE', keys[2], from, '+', 'COUNT', count)
  for i = 1, #entries do
    redis.call('XADD', keys[3], entries[i][1], unpack(entries[i][2]))
  end
  if #entries == count then
    return { 'more', entries[count][1] }
  end
  -- Freed in the background, as renaming over it would not.
  redis.call('UNLINK', keys[2])
  if redis.call('EXISTS', keys[3]) == 1 then
    redis.call('RENAME', keys[3], keys[2])
  end
  redis.call('HDEL', keys[4], args[1])
  redis.call('SREM', keys[5], args[1])
  return { 'done' }
end

-- Trimming is what is done where memory is full.
redis.register_function({ function_name = 'er_remove_VERSION', callback = remove, flags = { 'allow-oom' } })
redis.register_function('er_rewrite_VERSION', rewrite)
