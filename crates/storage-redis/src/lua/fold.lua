-- Folding what appends left into the index: lists of a chunk, and a run. And merging runs.

-- Values that one command is given at most.
local FOLDED_AT_ONCE = 1000
-- Bytes of a run in the manifest.
local LISTED = 21

-- Whether the events of this partition are counted: from the first fold on, or not at all.
local function is_counted(key, through)
  return redis.call('HGET', key, through) ~= false
end

-- KEYS: meta, what waits to be folded, the manifest of runs, the new run, the counts of events; then each list and the
-- directory that it is in.
-- ARGV: the log epoch; the sequence through which all is folded, the bytes to fold, the sequence through which all will be
-- folded; how many events and records these bytes are; the run, or ''; the run as the manifest has it; the field of the
-- counts that says through which sequence events are counted, how many counts there are, and (field, events) of each; then
-- (field, offsets in the chunk, four bytes each) of each list.
local function fold(keys, args)
  may(keys[1], 'HSET', 'HINCRBY', 'APPEND', 'SET', 'RPUSH', 'UNLINK')
  local meta, call = load(keys[1]), redis.call
  if raised(keys[1], meta) then
    return moved(meta)
  end
  local bytes = tonumber(args[3])
  if meta.epoch ~= args[1] or (meta.folded or '0') ~= args[2] or call('STRLEN', keys[2]) < bytes then
    return { 'stale' }
  end
  must_be(keys[3], 'string')
  must_be(keys[4], 'string')
  must_be(keys[5], 'hash')
  for k = 6, #keys, 2 do
    must_be(keys[k], 'list')
    must_be(keys[k + 1], 'hash')
  end
  local a = 11 + 2 * tonumber(args[10])
  if (meta.folded or '0') == '0' or is_counted(keys[5], args[9]) then
    for at = 11, a - 2, 2 do
      call('HINCRBY', keys[5], args[at], args[at + 1])
    end
    call('HSET', keys[5], args[9], args[4])
  end
  for k = 6, #keys, 2 do
    local offsets, length = {}, 0
    for at = 1, #args[a + 1], 4 do
      offsets[#offsets + 1] = struct.unpack('>I4', args[a + 1], at)
    end
    for from = 1, #offsets, FOLDED_AT_ONCE do
      length = call('RPUSH', keys[k], unpack(offsets, from, math.min(from + FOLDED_AT_ONCE - 1, #offsets)))
    end
    if length == #offsets then
      call('HSET', keys[k + 1], args[a], 1)
    end
    a = a + 2
  end
  if args[7] ~= '' then
    call('SET', keys[4], args[7])
    call('APPEND', keys[3], args[8])
  end
  local rest = call('GETRANGE', keys[2], bytes, -1)
  if rest == '' then
    call('UNLINK', keys[2])
  else
    call('SET', keys[2], rest)
  end
  local pending, records = tonumber(meta.pending) - tonumber(args[5]), tonumber(meta.records) - tonumber(args[6])
  call('HSET', keys[1], 'folded', args[4], 'pending', text(pending), 'records', text(records))
  return { 'ok', pending, records }
end

-- Writes a piece of a run that is being made. It is as long as it will be from the beginning: what grows piece by piece is given
-- more memory than it needs. KEYS: meta, the run, one whose making was begun and given up (or the run). ARGV: removals when its
-- making began, bytes that it will have, bytes that it has, the piece.
local function write_run(keys, args)
  may(keys[1], 'HSET', 'SETRANGE', 'UNLINK')
  raised(keys[1], load(keys[1]))
  local before = redis.call('HMGET', keys[1], 'removals', 'making')
  if (before[1] or '0') ~= args[1] then
    return { 'stale' }
  end
  must_be(keys[2], 'string')
  if args[3] == '0' then
    local given_up = before[2] and string.match(before[2], '^(.*) %d+$')
    if given_up and given_up ~= keys[3] then
      return { 'stale' }
    end
    redis.call('UNLINK', keys[2], keys[3])
    redis.call('SETRANGE', keys[2], tonumber(args[2]) - 1, '\0')
  elseif before[2] ~= keys[2] .. ' ' .. args[3] then
    return { 'stale' }
  end
  redis.call('SETRANGE', keys[2], args[3], args[4])
  redis.call('HSET', keys[1], 'making', keys[2] .. ' ' .. text(tonumber(args[3]) + #args[4]))
  return { 'ok' }
end

-- Puts a run in the place of others that follow each other. KEYS: meta, the manifest, the run, the others. ARGV: removals when
-- its making began, bytes that it must have, how the manifest has the others, and how it is to have the run, or '' for none.
local function merge(keys, args)
  may(keys[1], 'SET', 'UNLINK', 'HDEL')
  raised(keys[1], load(keys[1]))
  local before = redis.call('HMGET', keys[1], 'removals', 'making')
  if (before[1] or '0') ~= args[1] or (args[4] ~= '' and before[2] ~= keys[3] .. ' ' .. args[2]) then
    return { 'stale' }
  end
  local listed, at = redis.call('GET', keys[2]) or '', nil
  for from = 1, #listed, LISTED do
    if string.sub(listed, from, from + #args[3] - 1) == args[3] then
      at = from
    end
  end
  if not at then
    return { 'stale' }
  end
  local left = string.sub(listed, 1, at - 1) .. args[4] .. string.sub(listed, at + #args[3])
  if left == '' then
    redis.call('UNLINK', keys[2])
  else
    redis.call('SET', keys[2], left)
  end
  for k = 4, #keys do
    redis.call('UNLINK', keys[k])
  end
  if args[4] ~= '' then
    redis.call('HDEL', keys[1], 'making')
  end
  return { 'ok' }
end

-- Folding is what removing waits for, and removing is what is done where memory is full.
redis.register_function({ function_name = 'er_fold_VERSION', callback = fold, flags = { 'allow-oom' } })
redis.register_function('er_write_run_VERSION', write_run)
redis.register_function({ function_name = 'er_merge_VERSION', callback = merge, flags = { 'allow-oom' } })
