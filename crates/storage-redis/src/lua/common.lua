#!lua name=event_replay_VERSION
-- What every function of the library needs. All keys that a call touches are declared by its caller.

local LAYOUT = '1'
local CHUNK = 131072
-- Positions that a short term keeps in its bucket, and what stands there once they have a list of their own.
local SHORT = 10
local PROMOTED = '+'
-- Sequences of one log epoch.
local EPOCH = 4294967296

local function text(number)
  return string.format('%d', number)
end

-- Microseconds of the Unix epoch.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local SAMPLES = {
  XADD = { '*', 'f', 'v' }, RPUSH = { 'v' }, HSETNX = { 'f', 'v' }, HSET = { 'f', 'v' }, HDEL = { 'f' },
  HGETALL = {}, ZADD = { '0', 'm' }, PUBLISH = { 'm' }, RPUSHX = { 'v' }, LTRIM = { '0', '-1' },
}

-- Refuses before the first write what would fail in its midst: scripts are not rolled back.
local function may(key, ...)
  for _, command in ipairs({ ... }) do
    if not redis.acl_check_cmd(command, key, unpack(SAMPLES[command])) then
      error({ err = 'NOPERM this user may not run ' .. command })
    end
  end
end

local function must_be(key, kind)
  local is = redis.call('TYPE', key).ok
  if is ~= 'none' and is ~= kind then
    error({ err = 'WRONGTYPE the key ' .. key .. ' is a ' .. is .. ', not a ' .. kind })
  end
end

-- The state of the partition.
local function load(key)
  local names = { 'layout', 'head', 'epoch', 'run', 'level', 'split', 'stored', 'chunk', 'events', 'bytes', 'fields', 'ends' }
  local values = redis.call('HMGET', key, unpack(names))
  local meta = {}
  for i = 1, #names do
    meta[names[i]] = values[i]
  end
  if meta.layout ~= LAYOUT then
    error({ err = 'ERLAYOUT the namespace is gone or of layout ' .. tostring(meta.layout) })
  end
  return meta
end

-- The server's run id. It stays what it is while the server runs, and so does what a library remembers; `INFO` takes longer
-- than storing an event.
local run_id = nil
local function run()
  if not run_id then
    run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  end
  return run_id
end

-- Raises the log epoch where the server is another one than it was: it may have lost a suffix, and no position of it may be
-- handed out again.
local function raised(key, meta)
  local now = run()
  if now == meta.run then
    return false
  end
  local head, epoch = tonumber(meta.head), tonumber(meta.epoch)
  -- Where nothing is left of a log that there was, leases and cursors of before must not be good either.
  if head > 0 or meta.run then
    meta.ends = (meta.ends or '') .. text(epoch) .. ':' .. text(head) .. ','
    meta.head = text((math.floor(head / EPOCH) + 1) * EPOCH)
    meta.epoch = text(epoch + 1)
  end
  redis.call('HSET', key, 'run', now, 'head', meta.head, 'epoch', meta.epoch, 'ends', meta.ends or '')
  return true
end

local function moved(meta)
  return { 'moved', tonumber(meta.head), tonumber(meta.level), tonumber(meta.split), tonumber(meta.epoch) }
end
