#!lua name=event_replay_VERSION
-- What every function of the library needs. All keys that a call touches are declared by its caller.

local LAYOUT = '3'
local CHUNK = 131072
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
  HGETALL = {}, ZADD = { '0', 'm' }, PUBLISH = { 'm' }, LTRIM = { '0', '-1' }, APPEND = { 'v' }, SET = { 'v' },
  SETRANGE = { '0', 'v' }, UNLINK = {},
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
  local names = {
    'layout', 'head', 'epoch', 'run', 'history', 'level', 'split', 'stored', 'chunk', 'events', 'bytes', 'fields', 'ends',
    'folded', 'pending', 'records',
  }
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

-- Where a log epoch begins after one that ended at this head: in the next stretch of sequences, at a place that the clock
-- tells, one each four microseconds. That another epoch had begun there may be lost with all that it stored, and this one
-- has its number then; it must have none of its positions.
local function beginning(head)
  return (math.floor(head / EPOCH) + 1) * EPOCH + math.floor(clock() / 4) % EPOCH
end

-- Which server this is, and of which history it is the master. The run id stays what it is while the server runs; a master
-- whose place a replica had for a while has the same one when it has its place back, but begins another history (`master_replid`).
-- `INFO` takes longer than storing an event, so what it said is good for a moment. That is shorter than it takes to lose the
-- end of a log unnoticed: two servers change places, and one is filled with what the other has, and they change places again.
local GOOD_FOR = 10000
local server = nil
local function identity()
  local now = clock()
  if not server or now < server.asked or now - server.asked > GOOD_FOR then
    local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
    server = {
      asked = now, run = string.match(info, 'run_id:(%w+)'), history = string.match(info, 'master_replid:(%w+)') or '',
    }
  end
  return server
end

-- A server that restarted may have the beginning of a function's writes at the end of its append-only file. Redis up to 8.2
-- leaves it there, and does it together with what is written behind it when the file is loaded once more. So nothing is written
-- before the server has begun another file, as it does when a rewrite begins. Where that cannot be, the caller waives it.
local is_waived = false
local function must_have_begun_a_file()
  local info = redis.call('INFO', 'persistence')
  local function says(line)
    return string.find(info, line, 1, true)
  end
  local is_due = says('aof_enabled:1') and says('aof_rewrites:0') and says('aof_rewrite_in_progress:0')
  if is_due and not is_waived then
    error({ err = 'ERNEWFILE the server has begun no append-only file since it was started' })
  end
end

-- Raises the log epoch where the server is another one than it was, or was no master meanwhile: it may have lost a suffix, and
-- no position of it may be handed out again.
local function raised(key, meta)
  local now = identity()
  if now.run == meta.run and now.history == meta.history then
    return false
  end
  if now.run ~= meta.run then
    must_have_begun_a_file()
  end
  local head, epoch = tonumber(meta.head), tonumber(meta.epoch)
  -- Where nothing is left of a log that there was, leases and cursors of before must not be good either.
  if head > 0 or meta.run then
    local next_head = text(beginning(head))
    meta.ends = (meta.ends or '') .. text(epoch) .. ':' .. text(head) .. ':' .. next_head .. ','
    meta.head = next_head
    meta.epoch = text(epoch + 1)
  end
  redis.call('HSET', key, 'run', now.run, 'history', now.history, 'head', meta.head, 'epoch', meta.epoch, 'ends',
    meta.ends or '')
  return true
end

local function moved(meta)
  return { 'moved', tonumber(meta.head), tonumber(meta.level), tonumber(meta.split), tonumber(meta.epoch) }
end

-- The state as far as a write of rows needs it, with the log epoch raised where that is due.
local function load_briefly(key)
  local values, now = redis.call('HMGET', key, 'layout', 'epoch', 'run', 'history', 'level', 'split'), identity()
  if values[1] == LAYOUT and values[3] == now.run and values[4] == now.history then
    return { epoch = values[2], level = values[5], split = values[6] }
  end
  local meta = load(key)
  raised(key, meta)
  return meta
end
