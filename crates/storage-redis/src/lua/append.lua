-- Appending: the log, the dictionary of ids, and the terms of the batch, which wait in one string to be folded into the index.
--
-- Scripts are not rolled back. So it is kept which ids were claimed, and they are given back where the batch cannot be written.

-- Events that may wait to be folded. With more an append is refused until some were.
local MOST_PENDING = 16384

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

-- Gives the ids back that were claimed.
local function take_back(keys, args, batch)
  for i = 1, batch.claimed do
    if not batch.known[i] then
      redis.call('HDEL', keys[batch.id_keys + i], args[batch.event_args + 3 * i])
    end
  end
end

-- Writes a batch, or says why not, having kept in `batch` which ids it claimed.
local function write_batch(keys, args, meta, batch)
  local call, log, sequences = redis.call, keys[2], batch.sequences
  -- Of another type these would be met too late.
  if args[8] ~= '' then
    call('STRLEN', keys[4])
  end
  local known = claim(keys, args, batch)
  if #known > 0 then
    for at = 1, #known, 2 do
      batch.known[known[at]] = true
    end
    return { 'known', unpack(known) }
  end
  if meta.chunk ~= args[2] then
    must_be(log, 'stream')
    call('ZADD', keys[3], args[2], args[2])
  end
  local a, behind = batch.event_args, '-' .. text(batch.stored)
  for i = 1, #sequences do
    call('XADD', log, sequences[i] .. behind, 'event', args[a + 1], 'head', args[a + 2])
    a = a + 3
  end
  if args[8] ~= '' then
    call('APPEND', keys[4], struct.pack('>I6I4I4', batch.base, #args[8], tonumber(args[9])) .. args[8])
  end
  return nil
end

-- KEYS: meta, log of the chunk, chunks, what waits to be folded, bucket of each event.
-- ARGV: now in microseconds or '', chunk, level, split, count of events, bytes, channel, terms of the events or '', where
-- their postings begin; then (json, head, digest) of each event; then kinds, program and data of a transaction that goes with
-- it, or nothing.
local function append(keys, args)
  -- What a right is lacking for is taken back, so these are the rights that must be there.
  may(keys[1], 'HSET', 'HDEL', 'ZADD', 'APPEND')
  may(args[7], 'PUBLISH')
  local meta = load(keys[1])
  if raised(keys[1], meta) then
    return moved(meta)
  end
  local n, is_indexed = tonumber(args[5]), args[8] ~= ''
  local base = place(meta, tonumber(args[2]), n)
  if not base or meta.level ~= args[3] or meta.split ~= args[4] then
    return moved(meta)
  end
  local pending, records = tonumber(meta.pending or '0'), tonumber(meta.records or '0')
  if pending > MOST_PENDING then
    return { 'fold' }
  end
  local stored = math.max(tonumber(meta.stored), tonumber(args[1]) or clock())
  local batch = { base = base, stored = stored, sequences = {}, claimed = 0, known = {}, event_args = 9, id_keys = 4 }
  for i = 1, n do
    batch.sequences[i] = text(base + i)
  end
  local with, with_args = nil, batch.event_args + 3 * n
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
    return instead
  end
  if is_indexed then
    pending, records = pending + n, records + 1
  end
  local fields = text(tonumber(meta.fields) + n)
  redis.call('HSET', keys[1], 'head', batch.sequences[n], 'chunk', args[2], 'stored', text(stored), 'fields', fields,
    'events', text(tonumber(meta.events) + n), 'bytes', text(tonumber(meta.bytes) + tonumber(args[6])),
    'pending', text(pending), 'records', text(records))
  if with then
    perform(with)
  end
  redis.call('PUBLISH', args[7], batch.sequences[n])
  return { 'ok', base, stored, tonumber(fields), tonumber(meta.epoch), pending, records }
end

-- Moves what falls to new buckets as the dictionary grows. KEYS: meta, then (old, new) buckets. ARGV: level, split.
local function split(keys, args)
  may(keys[1], 'HSET', 'HDEL', 'HGETALL')
  local meta = load(keys[1])
  raised(keys[1], meta)
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
