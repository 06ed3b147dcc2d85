-- The partition's own hashes.

-- Puts a hash, unless it is there. KEYS: meta, the hash. ARGV: fields and values.
local function make(keys, args)
  may(keys[1], 'HSET')
  if redis.call('EXISTS', keys[2]) == 1 then
    return 'there'
  end
  must_have_begun_a_file()
  redis.call('HSET', keys[2], unpack(args))
  return 'ok'
end

-- Writes something short, so that its copies can be counted, if the log is still in an epoch. KEYS: meta. ARGV: the epoch.
local function mark(keys, args)
  may(keys[1], 'HSET')
  local meta = load(keys[1])
  if raised(keys[1], meta) then
    return moved(meta)
  end
  if meta.epoch ~= args[1] then
    return { 'refused' }
  end
  redis.call('HSET', keys[1], 'copied', args[1])
  return { 'ok' }
end

-- Has functions write although the server has begun no other append-only file, until it is started again. KEYS: meta.
local function waive()
  is_waived = true
  return 'ok'
end

redis.register_function('er_make_VERSION', make)
redis.register_function({ function_name = 'er_mark_VERSION', callback = mark, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'er_waive_VERSION', callback = waive, flags = { 'no-writes' } })
