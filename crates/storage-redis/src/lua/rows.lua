-- Rows beside the log: transactions of guards and writes, all of a call in one step.
--
-- A program has three bytes an operation: its code, and the place of its key among the program's keys (big endian, from 0).
-- What an operation needs beside that stands in the arguments, in order. All that guards ask for is read first; then the
-- transactions are judged one after the other on what was read, each seeing those before it; what is left to change is written
-- last, a command or two a key. So nothing is written before everything was judged, and nothing is read twice.

-- Codes of operations. Guards are below PUT. Where a library is loaded there is no `string` yet.
local BEGIN, STEP, GENERATION, IS, ABSENT, PRESENT, NONE_NEWER = 1, 2, 3, 4, 5, 6, 7
local PUT, DELETE, CLEAR, ADD, TOMBSTONE, COUNT_REPLAY, LIST, UNLIST = 10, 11, 12, 13, 14, 15, 16, 17
-- How many arguments each has.
local ARGUMENTS = {
  [BEGIN] = 0, [STEP] = 0, [GENERATION] = 1, [IS] = 2, [ABSENT] = 1, [PRESENT] = 1, [NONE_NEWER] = 3,
  [PUT] = 2, [DELETE] = 1, [CLEAR] = 0,
  [ADD] = 2, [TOMBSTONE] = 1, [COUNT_REPLAY] = 3, [LIST] = 1, [UNLIST] = 1,
}
-- Those that go by what a row is now.
local LOOKS = { [IS] = true, [ABSENT] = true, [PRESENT] = true, [ADD] = true, [TOMBSTONE] = true }
-- The commands that each needs once writing has begun.
local COMMANDS = {
  [PUT] = { 'HSET' }, [DELETE] = { 'HDEL' }, [CLEAR] = { 'UNLINK' }, [ADD] = { 'HSET' }, [LIST] = { 'ZADD' },
  [UNLIST] = { 'ZREM' }, [TOMBSTONE] = { 'HSET', 'HINCRBY' }, [COUNT_REPLAY] = { 'HSET', 'XLEN', 'XRANGE', 'XREVRANGE' },
}
-- What a key must be, by its letter.
local TYPES = { [104] = 'hash', [115] = 'stream', [116] = 'string', [122] = 'zset' }
local INDEX = 122

SAMPLES.ZREM = { 'm' }
SAMPLES.UNLINK = {}
SAMPLES.HINCRBY = { 'f', '1' }
SAMPLES.XLEN = {}
SAMPLES.XRANGE = { '-', '+' }
SAMPLES.XREVRANGE = { '+', '-' }

-- Arguments that one command is given at most, and fields that one read asks for.
local PIECE = 400
-- Numbers of Lua are exact up to here.
local EXACT = 9007199254740992

-- Reads what operations look at into `rows`: a value by field, or false.
local function read_rows(plan, wanted)
  for k, fields in pairs(wanted) do
    local key, known = plan.keys[k], plan.rows[k]
    if string.byte(plan.kinds, k - plan.before) == INDEX then
      for i = 1, #fields do
        known[fields[i]] = redis.call('ZSCORE', key, fields[i]) and ''
      end
    else
      for from = 1, #fields, PIECE do
        local to = math.min(from + PIECE - 1, #fields)
        local values = redis.call('HMGET', key, unpack(fields, from, to))
        for i = from, to do
          known[fields[i]] = values[i - from + 1]
        end
      end
    end
  end
end

-- Bytes of what waits to be folded that are looked through.
local MOST_WAITING = 262144

-- Whether a record of what waits to be folded, whose body begins at `body`, has one of the terms or names in an event above a
-- sequence.
local function has_needle(waiting, body, length, postings, above, needles)
  local at = body + 3
  for _ = 1, struct.unpack('>I2', waiting, body + 1) do
    local name_length = struct.unpack('>I4', waiting, at)
    local name = string.sub(waiting, at + 4, at + 3 + name_length)
    at = at + 4 + name_length
    local events = string.byte(waiting, at)
    -- Numbers rise, so the last one tells.
    if needles[name] and string.byte(waiting, at + events) > above then
      return true
    end
    at = at + 1 + events
  end
  for posting = body + postings, body + length - 9, 9 do
    if needles[string.sub(waiting, posting, posting + 7)] and string.byte(waiting, posting + 8) > above then
      return true
    end
  end
  return false
end

-- Whether an event above a sequence may have one of these terms or long terms, as far as what waits to be folded tells. Where
-- that does not reach back to the sequence, or is long, or nothing is named, any event may. So may one that retention removed.
local function may_be_newer(meta, pending, after, terms, names)
  local values = redis.call('HMGET', meta, 'head', 'trimmed')
  local head, trimmed = tonumber(values[1]), tonumber(values[2] or '0')
  after = tonumber(after)
  if head <= after then
    return head < after
  end
  if trimmed > after or (terms == '' and names == '') or redis.call('STRLEN', pending) > MOST_WAITING then
    return true
  end
  local needles, at = {}, 1
  for from = 1, #terms, 8 do
    needles[string.sub(terms, from, from + 7)] = true
  end
  while at <= #names do
    local length = struct.unpack('>I4', names, at)
    needles[string.sub(names, at + 4, at + 3 + length)] = true
    at = at + 4 + length
  end
  local waiting, last, reaches_back = redis.call('GET', pending) or '', nil, false
  at = 1
  while at <= #waiting do
    local base, length, postings = struct.unpack('>I6I4I4', waiting, at)
    local body = at + 14
    last = base + string.byte(waiting, body)
    reaches_back = reaches_back or base <= after
    if last > after then
      if not reaches_back or has_needle(waiting, body, length, postings, after - base, needles) then
        return true
      end
    end
    at = body + length
  end
  return last ~= head
end

-- Reads a program whose keys come after `before` others and whose data begin at `first`, and all rows that it looks at. Types
-- and rights are checked here: scripts are not rolled back.
local function planned(keys, before, kinds, program, args, first)
  local byte, rows, wanted, used, newer, a = string.byte, {}, {}, {}, {}, first
  for at = 1, #program, 3 do
    local op, high, low = byte(program, at, at + 2)
    used[op] = true
    if LOOKS[op] then
      local k, field = before + 256 * high + low + 1, args[a]
      local known = rows[k]
      if not known then
        known = {}
        rows[k] = known
        wanted[k] = {}
      end
      if known[field] == nil then
        known[field] = false
        wanted[k][#wanted[k] + 1] = field
      end
    end
    if op == NONE_NEWER then
      newer[a] = may_be_newer(keys[1], keys[before + 256 * high + low + 1], args[a], args[a + 1], args[a + 2])
    end
    a = a + ARGUMENTS[op]
  end
  for op in pairs(used) do
    if COMMANDS[op] then
      may(keys[1], unpack(COMMANDS[op]))
    end
  end
  -- Reading says of what is read that it is of another type.
  for i = 1, #kinds do
    if not wanted[before + i] then
      must_be(keys[before + i], TYPES[byte(kinds, i)])
    end
  end
  local plan = {
    keys = keys, before = before, kinds = kinds, program = program, args = args, first = first,
    rows = rows, newer = newer, cleared = {}, dirty = {}, fields = 0, replays = {},
  }
  read_rows(plan, wanted)
  return plan
end

-- Sets a row, or removes it where the value is false.
local function set_row(plan, k, field, value)
  local known, dirty = plan.rows[k], plan.dirty[k]
  if not known then
    known = {}
    plan.rows[k] = known
  end
  if not dirty then
    dirty = {}
    plan.dirty[k] = dirty
  end
  known[field] = value
  dirty[field] = true
end

local function added(value, amount)
  value = value or '0'
  local number, more = tonumber(value), tonumber(amount)
  if not string.find(value, '^-?%d+$') then
    error({ err = 'ERNUMBER a number is to be added to a row that is none' })
  end
  local sum = number + more
  if math.max(math.abs(number), math.abs(more), math.abs(sum)) > EXACT then
    error({ err = 'ERNUMBER a number is beyond 2^53, up to which rows can be added to' })
  end
  return text(sum)
end

-- Performs a write on what was read; `a` is where its arguments begin.
local function change(plan, op, k, a)
  local args = plan.args
  if op == PUT then
    set_row(plan, k, args[a], args[a + 1])
  elseif op == DELETE or op == UNLIST then
    set_row(plan, k, args[a], false)
  elseif op == LIST then
    set_row(plan, k, args[a], '')
  elseif op == ADD then
    set_row(plan, k, args[a], added(plan.rows[k][args[a]], args[a + 1]))
  elseif op == CLEAR then
    plan.rows[k], plan.dirty[k], plan.cleared[k] = {}, nil, true
  elseif op == TOMBSTONE then
    if not plan.rows[k][args[a]] then
      set_row(plan, k, args[a], 'x')
      plan.fields = plan.fields + 1
    end
  else
    plan.replays[#plan.replays + 1] = { k, args[a], args[a + 1], args[a + 2] }
  end
end

-- Whether a guard holds.
local function holds(plan, op, k, a, epoch)
  local args = plan.args
  if op == GENERATION then
    return args[a] == epoch
  end
  if op == NONE_NEWER then
    return not plan.newer[a]
  end
  local value = plan.rows[k][args[a]]
  if op == IS then
    return value == args[a + 1]
  elseif op == ABSENT then
    return not value
  end
  return value ~= nil and value ~= false
end

-- Judges the transactions in order, and performs them on what was read. What became of each: 0, it is done; below that, minus
-- the number of the guard (from 1) that did not hold; or a list of the steps that were left out. Whether all are done.
local function judged(plan, epoch)
  local byte, program, before, a = string.byte, plan.program, plan.before, plan.first
  local outcomes, n, step, guard, passes, all = {}, 0, 0, 0, true, true
  for at = 1, #program, 3 do
    local op, high, low = byte(program, at, at + 2)
    if op == BEGIN then
      n, step, guard, passes = n + 1, 0, 0, true
      outcomes[n] = 0
    elseif op == STEP then
      step, guard = step + 1, 0
      passes = type(outcomes[n]) == 'table' or outcomes[n] == 0
    elseif passes then
      local k = before + 256 * high + low + 1
      if op >= PUT then
        change(plan, op, k, a)
      else
        guard = guard + 1
        if not holds(plan, op, k, a, epoch) then
          passes, all = false, false
          if step == 0 then
            outcomes[n] = -guard
          elseif outcomes[n] == 0 then
            outcomes[n] = { step }
          else
            outcomes[n][#outcomes[n] + 1] = step
          end
        end
      end
    end
    a = a + ARGUMENTS[op]
  end
  return outcomes, all
end

local function in_pieces(command, key, list)
  for from = 1, #list, PIECE do
    redis.call(command, key, unpack(list, from, math.min(from + PIECE - 1, #list)))
  end
end

-- Writes the rows of a key that were changed.
local function flush(plan, k, dirty)
  local key, known, puts, gone = plan.keys[k], plan.rows[k], {}, {}
  local is_index = string.byte(plan.kinds, k - plan.before) == INDEX
  for field in pairs(dirty) do
    local value = known[field]
    if not value then
      gone[#gone + 1] = field
    elseif is_index then
      puts[#puts + 1] = '0'
      puts[#puts + 1] = field
    else
      puts[#puts + 1] = field
      puts[#puts + 1] = value
    end
  end
  in_pieces(is_index and 'ZREM' or 'HDEL', key, gone)
  in_pieces(is_index and 'ZADD' or 'HSET', key, puts)
end

-- Writes what was changed.
local function perform(plan)
  for k in pairs(plan.cleared) do
    redis.call('UNLINK', plan.keys[k])
  end
  for k, dirty in pairs(plan.dirty) do
    flush(plan, k, dirty)
  end
  if plan.fields > 0 then
    redis.call('HINCRBY', plan.keys[1], 'fields', plan.fields)
  end
  for _, replay in ipairs(plan.replays) do
    count_replay(plan.keys[replay[1]], plan.keys[replay[1] + 1], replay[2], replay[3], replay[4])
  end
end

-- KEYS: meta, then those of the program. ARGV: level and split of the dictionary, or '' where the program names no bucket; the
-- letter of each of the program's keys; the program; its data. Answers the log epoch and what became of the transactions;
-- of the latter nothing where all are done.
local function commit(keys, args)
  local meta = load_briefly(keys[1])
  if args[1] ~= '' and (meta.level ~= args[1] or meta.split ~= args[2]) then
    return moved(load(keys[1]))
  end
  local plan = planned(keys, 1, args[3], args[4], args, 5)
  local outcomes, all = judged(plan, meta.epoch)
  perform(plan)
  if all then
    return { 'ok', tonumber(meta.epoch) }
  end
  return { 'ok', tonumber(meta.epoch), outcomes }
end

redis.register_function('er_commit_VERSION', commit)
-- The same for what only takes away, or is short: a server whose memory is full must let it through.
redis.register_function({ function_name = 'er_commit_when_full_VERSION', callback = commit, flags = { 'allow-oom' } })
