-- Appending: the log, every index entry and the dictionary of ids, in one step.

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

local function packed(base, indices)
  local out = {}
  for i = 1, #indices do
    out[i] = struct.pack('>I6', base + indices[i])
  end
  return table.concat(out)
end

-- Claims the ids. What is known already is given back with its value, and then nothing is claimed.
local function claim(keys, args, k, a, n, base)
  local known, claimed = {}, 0
  for i = 1, n do
    local answer = redis.pcall('HSETNX', keys[k + i], args[a + 3 * i], text(base + i))
    if answer ~= 1 then
      if type(answer) == 'table' then
        known = { answer }
        claimed = i - 1
        break
      end
      known[#known + 1] = i
      known[#known + 1] = redis.call('HGET', keys[k + i], args[a + 3 * i])
    end
    claimed = i
  end
  if #known == 0 then
    return nil
  end
  local skip = {}
  for at = 1, #known, 2 do
    if type(known[at]) == 'number' then
      skip[known[at]] = true
    end
  end
  for i = 1, claimed do
    if not skip[i] then
      redis.call('HDEL', keys[k + i], args[a + 3 * i])
    end
  end
  return known
end

-- KEYS: meta, log of the chunk, chunks, directory of the chunk, long lists, (bucket, list) of each short term, bucket of
-- each event. ARGV: now in microseconds or '', chunk, level, split, counts of events, long lists and short terms, bytes,
-- channel; then (json, head, digest) of each event, (field, indices) of each long list, (digest, indices) of each short
-- term; then a guarded write that goes with it, or nothing.
local function append(keys, args)
  may(keys[1], 'XADD', 'RPUSH', 'HSETNX', 'HSET', 'HDEL', 'ZADD')
  may(args[9], 'PUBLISH')
  local meta = load(keys[1])
  if raised(keys[1], meta) then
    return moved(meta)
  end
  local now, chunk = args[1], tonumber(args[2])
  local n, longs, shorts = tonumber(args[5]), tonumber(args[6]), tonumber(args[7])
  local base = place(meta, chunk, n)
  if not base or meta.level ~= args[3] or meta.split ~= args[4] then
    return moved(meta)
  end
  must_be(keys[2], 'stream')
  local event_args = 9
  local long_args = event_args + 3 * n
  local short_args = long_args + 2 * longs
  local also_args = short_args + 2 * shorts
  local short_keys = 4 + longs
  local id_keys = short_keys + 2 * shorts
  for i = 1, longs do
    must_be(keys[4 + i], 'list')
  end
  local values = {}
  for i = 1, shorts do
    values[i] = redis.call('HGET', keys[short_keys + 2 * i - 1], args[short_args + 2 * i - 1])
    if values[i] == PROMOTED then
      must_be(keys[short_keys + 2 * i], 'list')
    end
  end
  local also = nil
  if #args > also_args then
    also = parse(keys, args, also_args + 1)
    local refused = refusal(also)
    if refused then
      return { 'refused', refused }
    end
  end
  local known = claim(keys, args, id_keys, event_args, n, base)
  if known then
    if type(known[1]) == 'table' then
      return known[1]
    end
    return { 'known', unpack(known) }
  end

  local stored = math.max(tonumber(meta.stored), tonumber(now) or clock())
  local stored_text = text(stored)
  for i = 1, n do
    local at = event_args + 3 * i
    redis.call('XADD', keys[2], text(base + i) .. '-0', 'event', args[at - 2], 'head', args[at - 1], 'at', stored_text)
  end
  for i = 1, longs do
    local offsets = { string.byte(args[long_args + 2 * i], 1, -1) }
    for j = 1, #offsets do
      offsets[j] = (base + offsets[j]) % CHUNK
    end
    if redis.call('RPUSH', keys[4 + i], unpack(offsets)) == #offsets then
      redis.call('HSET', keys[4], args[long_args + 2 * i - 1], 1)
    end
  end
  local fields = tonumber(meta.fields) + n
  for i = 1, shorts do
    local digest, indices = args[short_args + 2 * i - 1], { string.byte(args[short_args + 2 * i], 1, -1) }
    local bucket, list = keys[short_keys + 2 * i - 1], keys[short_keys + 2 * i]
    local value = values[i]
    if not value then
      fields = fields + 1
      value = ''
    end
    if value ~= PROMOTED and #value / 6 + #indices <= SHORT then
      redis.call('HSET', bucket, digest, value .. packed(base, indices))
    else
      local sequences = {}
      if value ~= PROMOTED then
        for at = 1, #value, 6 do
          sequences[#sequences + 1] = struct.unpack('>I6', value, at)
        end
        redis.call('HSET', bucket, digest, PROMOTED)
      end
      for j = 1, #indices do
        sequences[#sequences + 1] = base + indices[j]
      end
      redis.call('RPUSH', list, unpack(sequences))
    end
  end
  if meta.chunk ~= args[2] then
    redis.call('ZADD', keys[3], chunk, args[2])
  end
  redis.call('HSET', keys[1], 'head', text(base + n), 'chunk', args[2], 'stored', stored_text, 'fields', text(fields),
    'events', text(tonumber(meta.events) + n), 'bytes', text(tonumber(meta.bytes) + tonumber(args[8])))
  if also then
    perform(also)
  end
  redis.call('PUBLISH', args[9], text(base + n))
  return { 'ok', base, stored, fields, tonumber(meta.epoch) }
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
