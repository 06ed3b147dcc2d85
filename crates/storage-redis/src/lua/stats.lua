-- Counters: a hash for each minute, with a field for each count and each sum. The zset of the minutes says which there are;
-- `changes` counts what changes more than one minute at once, for readers who read them one after the other.

-- Beyond this a counter stands still: HINCRBY fails beyond 2^63, and it must not do so in the midst of a call.
local MOST_DIGITS = 18

SAMPLES.HINCRBY = { 'f', '1' }
SAMPLES.ZREM = { 'm' }
SAMPLES.DEL = {}

local function add_to(key, field, delta)
  if #delta > MOST_DIGITS or #(redis.call('HGET', key, field) or '') > MOST_DIGITS then
    return
  end
  redis.call('HINCRBY', key, field, delta)
end

-- KEYS: meta, minutes, then the hash of each minute. ARGV: for each of these hashes its minute and how many (field, delta)
-- follow, and those.
local function count(keys, args)
  load(keys[1])
  may(keys[2], 'ZADD', 'HINCRBY')
  must_be(keys[2], 'zset')
  for k = 3, #keys do
    must_be(keys[k], 'hash')
  end
  local a = 1
  for k = 3, #keys do
    local minute, fields = args[a], tonumber(args[a + 1])
    a = a + 2
    redis.call('ZADD', keys[2], minute, minute)
    for _ = 1, fields do
      add_to(keys[k], args[a], args[a + 1])
      a = a + 2
    end
  end
  if #keys > 3 then
    redis.call('HINCRBY', keys[1], 'changes', 1)
  end
  return redis.status_reply('OK')
end

-- Adds minutes to minute 0. KEYS: meta, minutes, the hash of minute 0, then the hash of each minute. ARGV: the minutes.
local function fold(keys, args)
  load(keys[1])
  may(keys[2], 'ZADD', 'ZREM', 'HINCRBY', 'HGETALL', 'DEL')
  must_be(keys[2], 'zset')
  for k = 3, #keys do
    must_be(keys[k], 'hash')
  end
  for k = 4, #keys do
    local all = redis.call('HGETALL', keys[k])
    if #all > 0 then
      redis.call('ZADD', keys[2], 0, '0')
    end
    for i = 1, #all, 2 do
      add_to(keys[3], all[i], all[i + 1])
    end
    redis.call('DEL', keys[k])
    redis.call('ZREM', keys[2], args[k - 3])
  end
  redis.call('HINCRBY', keys[1], 'changes', 1)
  return redis.status_reply('OK')
end

redis.register_function('er_count_VERSION', count)
redis.register_function('er_fold_VERSION', fold)
