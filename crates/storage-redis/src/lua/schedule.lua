-- The schedule: a zset whose members sort by time, then by when they were scheduled, and a hash for each event that waits.

SAMPLES.HINCRBY = { 'f', '1' }

-- Puts an event into the schedule if neither that nor the log knows its id. KEYS: meta, schedule, hash of the event, bucket
-- of its id. ARGV: now in microseconds or '', level, split, due as it sorts, id, digest of the id, head, json.
local function schedule(keys, args)
  may(keys[3], 'HSET')
  may(keys[2], 'ZADD')
  may(keys[1], 'HINCRBY')
  local meta = load(keys[1])
  if raised(keys[1], meta) or meta.level ~= args[2] or meta.split ~= args[3] then
    return moved(meta)
  end
  must_be(keys[2], 'zset')
  must_be(keys[3], 'hash')
  local known = redis.call('HGET', keys[4], args[6])
  if known then
    return { 'known', known, tonumber(meta.epoch) }
  end
  local waiting = redis.call('HMGET', keys[3], 'place', 'event')
  if waiting[1] then
    return { 'waits', waiting[1], waiting[2] or '', tonumber(meta.epoch) }
  end
  local place = args[4] .. string.format('%016.0f', redis.call('HINCRBY', keys[1], 'scheduled', 1))
  local at = args[1]
  if at == '' then
    at = text(clock())
  end
  redis.call('HSET', keys[3], 'place', place, 'at', at, 'head', args[7], 'event', args[8])
  redis.call('ZADD', keys[2], 0, place .. args[5])
  return { 'ok', tonumber(meta.epoch) }
end

redis.register_function('er_schedule_VERSION', schedule)
