-- Appending: the log, every index entry and the dictionary of ids, in one step.
--
-- Scripts are not rolled back, and to look at every key before the first write would cost as much as writing. So it is kept
-- how far a batch was written, and what was is taken back where something cannot be written.

-- What a caller says of a short term, and which of its keys it names: 'n', nothing is known of it (its bucket); 's', its
-- bucket may have it (its bucket); 'l', it has a list (the list); 'b', it may be either or about to be given one (both).
-- These are their bytes: where a library is loaded there is no `string` yet.
local NEW, LISTED, EITHER = 110, 108, 98
-- What an answer says of a term that has a list.
local HAS_LIST = 255

-- Where a batch begins, or nil where the caller's picture of the log is old.
local function place(meta, chunk, n)
  local head = tonumber(meta.head)
  local first = math.floor((head + 1) / CHUNK)
  local fits = math.floor((head + n) / CHUNK) == first
  if fits and chunk == first then
    return head
  end
  if not fits and chunk == first + 1 then
    return chunk * CHUNK - 1
  end
  return nil
end

-- Claims the ids. Those that are known already are given back with their values: (number, value) each.
local function claim(keys, args, batch)
  local call, sequences, known = redis.call, batch.sequences, {}
  local k, a = batch.id_keys, batch.event_args
  for i = 1, #sequences do
    a = a + 3
    if call('HSETNX', keys[k + i], args[a], sequences[i]) == 1 then
      batch.claimed = i
    else
      known[#known + 1] = i
      known[#known + 1] = call('HGET', keys[k + i], args[a])
    end
  end
  return known
end

-- The sequences of events by their numbers, as a bucket has them.
local function packed(base, indices)
  if #indices == 1 then
    return struct.pack('>I6', base + string.byte(indices))
  end
  local out = {}
  for i = 1, #indices do
    out[i] = struct.pack('>I6', base + string.byte(indices, i))
  end
  return table.concat(out)
end

-- Adds to a list of a term; how long it is now.
local function push(command, list, base, indices)
  if #indices == 1 then
    return redis.call(command, list, base + string.byte(indices))
  end
  local sequences = { string.byte(indices, 1, -1) }
  for i = 1, #sequences do
    sequences[i] = base + sequences[i]
  end
  return redis.call(command, list, unpack(sequences))
end

-- Gives a term of a bucket a list of its own.
local function promote(bucket, list, digest, value, base, indices)
  must_be(list, 'none')
  local sequences = {}
  for at = 1, #value, 6 do
    sequences[#sequences + 1] = struct.unpack('>I6', value, at)
  end
  for at = 1, #indices do
    sequences[#sequences + 1] = base + string.byte(indices, at)
  end
  redis.call('RPUSH', list, unpack(sequences))
  redis.call('HSET', bucket, digest, PROMOTED)
end

-- Adds to a term whose bucket may have it. What it has now, and what its bucket had; nil where it takes a list that the
-- caller did not name.
local function extend(bucket, list, digest, base, indices)
  local value = redis.call('HGET', bucket, digest)
  if value == PROMOTED then
    if not list then
      return nil
    end
    push('RPUSH', list, base, indices)
    return HAS_LIST, value
  end
  local count = #indices
  if value then
    count = count + #value / 6
  end
  if count <= SHORT then
    redis.call('HSET', bucket, digest, (value or '') .. packed(base, indices))
    return count, value
  elseif list then
    promote(bucket, list, digest, value or '', base, indices)
    return HAS_LIST, value
  end
  return nil
end

-- Writes the short terms. Whether the caller knew enough of them; what each had in its bucket is kept in `batch.had`, and what
-- it has now in `batch.has`, as bytes.
local function post(keys, args, batch)
  local call, base, kinds, had, has = redis.call, batch.base, batch.kinds, batch.had, {}
  local k, a, fresh = batch.short_keys, batch.short_args, 0
  for i = 1, #kinds do
    local kind, digest, indices = string.byte(kinds, i), args[a + 1], args[a + 2]
    k, a = k + 1, a + 2
    local key, count, before = keys[k], #indices, false
    if kind == LISTED then
      count = push('RPUSHX', key, base, indices) > 0 and HAS_LIST
      before = PROMOTED
    elseif kind ~= NEW or call('HSETNX', key, digest, packed(base, indices)) == 0 then
      local list = nil
      if kind == EITHER then
        k = k + 1
        list = keys[k]
      end
      count, before = extend(key, list, digest, base, indices)
    end
    if not count then
      return false
    end
    if not before then
      fresh = fresh + 1
    end
    had[i] = before
    has[i] = string.char(count)
  end
  batch.fresh, batch.has = fresh, table.concat(has)
  return true
end

-- What each short term has, as a byte; 0 where that cannot be told from what the caller named.
local function standing(keys, args, batch)
  local has, kinds, k, a = {}, batch.kinds, batch.short_keys, batch.short_args
  for i = 1, #kinds do
    local kind, key, count = string.byte(kinds, i), keys[k + 1], 0
    if kind == LISTED then
      count = redis.call('EXISTS', key) * HAS_LIST
    else
      local value = redis.call('HGET', key, args[a + 1])
      count = value == PROMOTED and HAS_LIST or #(value or '') / 6
    end
    has[i] = string.char(count)
    a, k = a + 2, k + (kind == EITHER and 2 or 1)
  end
  return table.concat(has)
end

-- Adds to the lists of the chunk: types, sources, hours.
local function add_to_lists(keys, args, batch)
  local base, a = batch.base, batch.long_args
  for i = 1, batch.longs do
    a = a + 2
    local offsets = { string.byte(args[a], 1, -1) }
    for j = 1, #offsets do
      offsets[j] = (base + offsets[j]) % CHUNK
    end
    if redis.call('RPUSH', keys[4 + i], unpack(offsets)) == #offsets then
      redis.call('HSET', keys[4], args[a - 1], 1)
    end
    batch.listed = i
  end
end

-- Takes back what was written of a batch. What a list was given, it was given at its end.
local function take_back(keys, args, batch)
  local call = redis.call
  for i = 1, batch.listed do
    local a = batch.long_args + 2 * i
    call('LTRIM', keys[4 + i], 0, -#args[a] - 1)
    if call('EXISTS', keys[4 + i]) == 0 then
      call('HDEL', keys[4], args[a - 1])
    end
  end
  local k, a, kinds = batch.short_keys, batch.short_args, batch.kinds
  for i = 1, #batch.had do
    local kind, digest, indices, before = string.byte(kinds, i), args[a + 1], args[a + 2], batch.had[i]
    k, a = k + 1, a + 2
    local bucket, list = keys[k], keys[k]
    if kind == EITHER then
      k = k + 1
      list = keys[k]
    end
    if before == PROMOTED then
      call('LTRIM', list, 0, -#indices - 1)
    else
      if list ~= bucket and call('HGET', bucket, digest) == PROMOTED then
        call('LTRIM', list, 1, 0)
      end
      if before then
        call('HSET', bucket, digest, before)
      else
        call('HDEL', bucket, digest)
      end
    end
  end
  for i = 1, batch.claimed do
    if not batch.known[i] then
      call('HDEL', keys[batch.id_keys + i], args[batch.event_args + 3 * i])
    end
  end
end

-- Writes a batch, or says why not, having kept in `batch` what it wrote.
local function write_batch(keys, args, meta, batch)
  local known = claim(keys, args, batch)
  if #known > 0 then
    for at = 1, #known, 2 do
      batch.known[known[at]] = true
    end
    return { 'known', unpack(known) }
  end
  if not post(keys, args, batch) then
    return { 'stale' }
  end
  add_to_lists(keys, args, batch)
  if meta.chunk ~= args[2] then
    must_be(keys[2], 'stream')
    redis.call('ZADD', keys[3], args[2], args[2])
  end
  local call, log, sequences = redis.call, keys[2], batch.sequences
  local a, behind = batch.event_args, '-' .. text(batch.stored)
  for i = 1, #sequences do
    call('XADD', log, sequences[i] .. behind, 'event', args[a + 1], 'head', args[a + 2])
    a = a + 3
  end
  return nil
end

-- KEYS: meta, log of the chunk, chunks, directory of the chunk, long lists, those of each short term, bucket of each event.
-- ARGV: now in microseconds or '', chunk, level, split, count of events, count of long lists, kind of each short term,
-- bytes, channel; then (json, head, digest) of each event, (field, indices) of each long list, (digest, indices) of each
-- short term; then kinds, program and data of a transaction that goes with it, or nothing.
local function append(keys, args)
  -- What a right is lacking for is taken back, so these are the rights that must be there.
  may(keys[1], 'HSET', 'HDEL', 'LTRIM', 'ZADD')
  may(args[9], 'PUBLISH')
  local meta = load(keys[1])
  if raised(keys[1], meta) then
    return moved(meta)
  end
  local n, longs, kinds = tonumber(args[5]), tonumber(args[6]), args[7]
  local base = place(meta, tonumber(args[2]), n)
  if not base or meta.level ~= args[3] or meta.split ~= args[4] then
    return moved(meta)
  end
  local stored = math.max(tonumber(meta.stored), tonumber(args[1]) or clock())
  local batch = {
    base = base, stored = stored, longs = longs, kinds = kinds, sequences = {},
    claimed = 0, known = {}, had = {}, listed = 0,
  }
  batch.event_args = 9
  batch.long_args = batch.event_args + 3 * n
  batch.short_args = batch.long_args + 2 * longs
  batch.short_keys = 4 + longs
  batch.id_keys = batch.short_keys + #kinds
  for i = 1, #kinds do
    if string.byte(kinds, i) == EITHER then
      batch.id_keys = batch.id_keys + 1
    end
  end
  for i = 1, n do
    batch.sequences[i] = text(base + i)
  end
  local with, with_args = nil, batch.short_args + 2 * #kinds
  if #args > with_args then
    with = planned(keys, batch.id_keys + n, args[with_args + 1], args[with_args + 2], args, with_args + 3)
    local outcome = judged(with, meta.epoch)[1]
    if type(outcome) == 'number' and outcome < 0 then
      return { 'refused', -outcome }
    end
  end

  local fine, instead = pcall(write_batch, keys, args, meta, batch)
  if not fine or instead then
    take_back(keys, args, batch)
    if not fine then
      -- What is caught is a text, with the place where it was raised.
      local why = string.gsub(tostring(instead), '^user_function:%d+: ', '')
      return { err = why }
    end
    if instead[1] == 'stale' then
      instead[2] = standing(keys, args, batch)
    end
    return instead
  end
  local fields = text(tonumber(meta.fields) + n + batch.fresh)
  redis.call('HSET', keys[1], 'head', batch.sequences[n], 'chunk', args[2], 'stored', text(stored), 'fields', fields,
    'events', text(tonumber(meta.events) + n), 'bytes', text(tonumber(meta.bytes) + tonumber(args[8])))
  if with then
    perform(with)
  end
  redis.call('PUBLISH', args[9], batch.sequences[n])
  return { 'ok', base, stored, tonumber(fields), tonumber(meta.epoch), batch.has }
end

-- Moves what falls to new buckets as the dictionary grows. KEYS: meta, then (old, new) buckets. ARGV: level, split.
local function split(keys, args)
  may(keys[1], 'HSET', 'HDEL', 'HGETALL')
  local meta = load(keys[1])
  if meta.level ~= args[1] or meta.split ~= args[2] then
    return moved(meta)
  end
  local level, next_bucket = tonumber(meta.level), tonumber(meta.split)
  for k = 2, #keys, 2 do
    must_be(keys[k], 'hash')
    must_be(keys[k + 1], 'hash')
  end
  for k = 2, #keys, 2 do
    local all, put, drop = redis.call('HGETALL', keys[k]), {}, {}
    for i = 1, #all, 2 do
      if struct.unpack('>I4', all[i]) % 2 ^ (level + 1) ~= next_bucket then
        put[#put + 1] = all[i]
        put[#put + 1] = all[i + 1]
        drop[#drop + 1] = all[i]
      end
    end
    for from = 1, #put, 200 do
      redis.call('HSET', keys[k + 1], unpack(put, from, math.min(from + 199, #put)))
    end
    for from = 1, #drop, 200 do
      redis.call('HDEL', keys[k], unpack(drop, from, math.min(from + 199, #drop)))
    end
    next_bucket = next_bucket + 1
    if next_bucket == 2 ^ level then
      level, next_bucket = level + 1, 0
      break
    end
  end
  redis.call('HSET', keys[1], 'level', text(level), 'split', text(next_bucket))
  return { 'ok', level, next_bucket }
end

redis.register_function('er_append_VERSION', append)
redis.register_function('er_split_VERSION', split)
