-- A guarded write: what a caller decided from what it read, done if that is still so.

local KINDS = {
  HSET = 'hash', HDEL = 'hash', HINCRBY = 'hash', HSETNX = 'hash', ZADD = 'zset', ZREM = 'zset', RPUSH = 'list',
  LPUSH = 'list', LREM = 'list', LPOP = 'list', LTRIM = 'list', SADD = 'set', SREM = 'set', XADD = 'stream',
  XDEL = 'stream', XTRIM = 'stream',
}

-- ARGV from `a` on: count of guards; each guard is (kind, key, field, value); then commands, each (name, key, count,
-- arguments). A key is its place in KEYS.
local function parse(keys, args, a)
  local write = { guards = {}, commands = {} }
  local count = tonumber(args[a])
  a = a + 1
  for i = 1, count do
    write.guards[i] = { args[a], keys[tonumber(args[a + 1])], args[a + 2], args[a + 3] }
    a = a + 4
  end
  while a <= #args do
    local name, key, n = args[a], keys[tonumber(args[a + 1])], tonumber(args[a + 2])
    write.commands[#write.commands + 1] = { name, key, unpack(args, a + 3, a + 2 + n) }
    a = a + 3 + n
  end
  return write
end

-- The number of the first guard that does not hold, from 1; or nil. Types and rights are checked here too.
local function refusal(write)
  for i, guard in ipairs(write.guards) do
    local kind, key, field, value = unpack(guard)
    local holds
    if kind == 'is' then
      holds = redis.call('HGET', key, field) == value
    elseif kind == 'absent' then
      holds = redis.call('HEXISTS', key, field) == 0
    elseif kind == 'none' then
      holds = redis.call('EXISTS', key) == 0
    else
      error({ err = 'ERGUARD unknown guard ' .. kind })
    end
    if not holds then
      return i
    end
  end
  local asked = {}
  for _, command in ipairs(write.commands) do
    local name = command[1]
    if KINDS[name] then
      must_be(command[2], KINDS[name])
    end
    if not asked[name] then
      asked[name] = true
      if not redis.acl_check_cmd(unpack(command)) then
        error({ err = 'NOPERM this user may not run ' .. name })
      end
    end
  end
  return nil
end

local function perform(write)
  local answers = {}
  for i, command in ipairs(write.commands) do
    answers[i] = redis.call(unpack(command))
  end
  return answers
end

-- KEYS: meta of the partition, then what guards and commands name. ARGV: '1' where a server that is another one than before
-- refuses the write, then as above.
local function write(keys, args)
  if args[1] == '1' then
    local meta = load(keys[1])
    if raised(keys[1], meta) then
      return moved(meta)
    end
  end
  local parsed = parse(keys, args, 2)
  local refused = refusal(parsed)
  if refused then
    return { 'refused', refused }
  end
  return { 'ok', perform(parsed) }
end

redis.register_function('er_write_VERSION', write)
-- The same for what takes away, or is short: a server whose memory is full must let it through.
redis.register_function({ function_name = 'er_free_VERSION', callback = write, flags = { 'allow-oom' } })
