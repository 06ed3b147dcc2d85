-- Groups: leases, commits and lanes.
--
-- A group's segments stand in few hashes: where each is ('cursor:claimed' by number), who has leased it
-- ('epoch:token:until:consumer' by number), how long its lane is ('lN' the last place, 'rN' the references). Epochs and tokens
-- are compared as text: they need all 64 bits.

SAMPLES.ZREM = { 'm' }
SAMPLES.HINCRBY = { 'f', '1' }

-- Whether one text is before another, byte by byte: '<' goes by the server's locale.
local function before(one, other)
  local shorter = math.min(#one, #other)
  for at = 1, shorter do
    local a, b = string.byte(one, at), string.byte(other, at)
    if a ~= b then
      return a < b
    end
  end
  return #one < #other
end

-- The numbers of an array as a table of its pairs.
local function pairs_of(flat)
  local out = {}
  for at = 1, #flat, 2 do
    out[flat[at]] = flat[at + 1]
  end
  return out
end

local function set_all(key, flat)
  for from = 1, #flat, 400 do
    redis.call('HSET', key, unpack(flat, from, math.min(from + 399, #flat)))
  end
end

-- How many segments a consumer should have. Forgets consumers whose time is over. What does not divide evenly goes to the
-- consumers from a place on that moves with the partition: over all partitions they have as many, give or take one.
local function share_of(key, consumer, count, now, partition)
  local all = redis.call('HGETALL', key)
  local alive, rank, gone = 1, 0, {}
  for at = 1, #all, 2 do
    local name = all[at]
    if name ~= consumer then
      if now < tonumber(string.match(all[at + 1], ':(%-?%d+)$')) then
        alive = alive + 1
        if before(name, consumer) then
          rank = rank + 1
        end
      else
        gone[#gone + 1] = name
      end
    end
  end
  for at = 1, #gone do
    redis.call('HDEL', key, gone[at])
  end
  local share, rest = math.floor(count / alive), count % alive
  if (rank - partition * rest) % alive < rest then
    share = share + 1
  end
  return share
end

-- KEYS: meta, records of groups, when they were seen, then of the group: consumers, segments, owners. ARGV: now in
-- microseconds or '', group, consumer, token, duration in microseconds, number of the partition.
-- Answers the record, the share, (segment, epoch) of what is held, (segment, 'cursor:claimed') of what of this is new.
local function lease(keys, args)
  may(keys[1], 'HSET', 'HDEL', 'HGETALL', 'HINCRBY')
  local meta = load(keys[1])
  for k = 2, 6 do
    must_be(keys[k], 'hash')
  end
  raised(keys[1], meta)
  local record = redis.call('HGET', keys[2], args[2])
  local count = tonumber(redis.call('HGET', keys[5], 'count') or nil)
  if not record or not count then
    return { 'nogroup' }
  end
  local consumer, token = args[3], args[4]
  local now = tonumber(args[1]) or clock()
  local ends = text(now + tonumber(args[5]))
  local share = share_of(keys[4], consumer, count, now, tonumber(args[6]))
  local owners = pairs_of(redis.call('HGETALL', keys[6]))
  local log_epoch = tonumber(meta.epoch)
  local held, free, put = {}, {}, {}
  for segment = 0, count - 1 do
    local number = text(segment)
    local owner = owners[number]
    local epoch, drawn, till, name
    if owner then
      epoch, drawn, till, name = string.match(owner, '^(%d+):(%d+):(%-?%d*):(.*)$')
    end
    -- A lease of another log epoch cannot commit any more, whoever has it.
    if not epoch or math.floor(tonumber(epoch) / EPOCH) ~= log_epoch then
      free[#free + 1] = number
    elseif till ~= '' and drawn == token and name == consumer then
      held[#held + 1] = number
      held[#held + 1] = epoch
      put[#put + 1] = number
      put[#put + 1] = epoch .. ':' .. token .. ':' .. ends .. ':' .. consumer
    elseif till == '' or tonumber(till) <= now then
      free[#free + 1] = number
    end
  end
  local taken = math.max(0, math.min(#free, share - #held / 2))
  local newest = {}
  if taken > 0 then
    local last = redis.call('HINCRBY', keys[1], 'leases', taken)
    for at = 1, taken do
      local number = free[at]
      local epoch = text(log_epoch * EPOCH + last - taken + at)
      held[#held + 1] = number
      held[#held + 1] = epoch
      put[#put + 1] = number
      put[#put + 1] = epoch .. ':' .. token .. ':' .. ends .. ':' .. consumer
      newest[#newest + 1] = number
      newest[#newest + 1] = redis.call('HGET', keys[5], number)
    end
  end
  set_all(keys[6], put)
  redis.call('HSET', keys[3], args[2], text(now))
  redis.call('HSET', keys[4], consumer, token .. ':' .. ends)
  return { 'ok', record, share, held, newest }
end

-- `n` arguments after `a`.
local function some(args, a, n)
  if n == 0 then
    return nil
  end
  local out = {}
  for at = 1, n do
    out[at] = args[a + at]
  end
  return out
end

-- One commit, as the arguments tell it from `a` on, and where the next begins. Keys are places in KEYS, '0' where none is
-- needed; lists that are empty are nil.
local function read_commit(keys, args, a)
  local commit = {
    segments = keys[tonumber(args[a])], owners = keys[tonumber(args[a + 1])], ledger = keys[tonumber(args[a + 2])],
    lanes = keys[tonumber(args[a + 3])], lane = keys[tonumber(args[a + 4])], places = keys[tonumber(args[a + 5])],
    number = args[a + 6], lease = args[a + 7], log_epoch = args[a + 8], cursor = args[a + 9], claimed = args[a + 10],
    lowest = tonumber(args[a + 11]), release = args[a + 12] == '1',
  }
  a = a + 13
  local n = 2 * tonumber(args[a])
  commit.blocked, a = some(args, a, n), a + n + 1
  n = tonumber(args[a])
  commit.unblocked, a = some(args, a, n), a + n + 1
  n = 2 * tonumber(args[a])
  commit.progress, a = some(args, a, n), a + n + 1
  n = tonumber(args[a])
  a = a + 1
  if n > 0 then
    commit.done = {}
  end
  for at = 1, n do
    commit.done[at] = {
      place = args[a], count = args[a + 1], origin = args[a + 2], queued = keys[tonumber(args[a + 3])],
      results = keys[tonumber(args[a + 4])], field = args[a + 5], result = args[a + 6],
    }
    a = a + 7
  end
  return commit, a
end

-- Notes of each commit who has the segment, if it is under the newest lease of it, and how far the segment is; one look a
-- group.
local function look(commits, meta)
  local groups = {}
  for _, commit in ipairs(commits) do
    local group = groups[commit.segments]
    if not group then
      must_be(commit.segments, 'hash')
      group = { commits = {}, numbers = {}, owners = commit.owners, segments = commit.segments }
      groups[commit.segments] = group
    end
    group.commits[#group.commits + 1] = commit
    group.numbers[#group.numbers + 1] = commit.number
  end
  for _, group in pairs(groups) do
    local owners = redis.call('HMGET', group.owners, unpack(group.numbers))
    local passed = redis.call('HMGET', group.segments, unpack(group.numbers))
    for at, commit in ipairs(group.commits) do
      local owner = owners[at]
      if owner and commit.log_epoch == meta.epoch and string.sub(owner, 1, #commit.lease) == commit.lease then
        commit.owner = owner
        commit.passed = tonumber(string.match(passed[at] or '0', '^%d+'))
      end
    end
  end
  return groups
end

local function check_types(commit)
  if commit.ledger then
    must_be(commit.ledger, 'hash')
  end
  if commit.lane then
    must_be(commit.lanes, 'hash')
    must_be(commit.lane, 'hash')
    must_be(commit.places, 'zset')
  end
  for _, done in ipairs(commit.done or {}) do
    if done.queued then
      must_be(done.queued, 'hash')
      must_be(done.results, 'hash')
    end
  end
end

-- A batch leaves its lane; where a replay that is kept sent it, its result stays. Who commits a second time after a lost
-- answer has done it already; and where a group was made anew another batch may be at its place.
local function finish(commit, done)
  local there = redis.call('HGET', commit.lane, done.place)
  if not there or string.sub(there, 1, #done.origin) ~= done.origin then
    return
  end
  redis.call('HDEL', commit.lane, done.place, 'p' .. done.place)
  redis.call('ZREM', commit.places, done.place .. ':' .. done.count)
  redis.call('HINCRBY', commit.lanes, 'r' .. commit.number, '-' .. done.count)
  if done.queued and redis.call('EXISTS', done.queued) == 1 then
    redis.call('HSET', done.results, done.field, done.result)
  end
end

local NOTHING = {}

-- Does a commit, but for where the segment is. Answers the places of the batches that are not in the lane any more.
local function move(commit)
  local unblocked = commit.unblocked
  if unblocked then
    for from = 1, #unblocked, 400 do
      redis.call('HDEL', commit.ledger, unpack(unblocked, from, math.min(from + 399, #unblocked)))
    end
  end
  if commit.blocked then
    set_all(commit.ledger, commit.blocked)
  end
  if commit.release then
    local lease, name = string.match(commit.owner, '^(%d+:%d+:)%-?%d*:(.*)$')
    redis.call('HSET', commit.owners, commit.number, lease .. ':' .. name)
  end
  local withdrawn = NOTHING
  for at = 1, #(commit.progress or NOTHING), 2 do
    if redis.call('HEXISTS', commit.lane, commit.progress[at]) == 1 then
      redis.call('HSET', commit.lane, 'p' .. commit.progress[at], commit.progress[at + 1])
    else
      withdrawn = withdrawn == NOTHING and {} or withdrawn
      withdrawn[#withdrawn + 1] = commit.progress[at]
    end
  end
  for _, done in ipairs(commit.done or NOTHING) do
    finish(commit, done)
  end
  return withdrawn
end

-- Whether something is held after a commit that was not before.
local function holds_more(commit)
  return tonumber(commit.cursor) < commit.passed or (commit.lowest and commit.lowest <= commit.passed)
end

-- Sets where the segments of a group are.
local function put_places(group)
  local places = {}
  for _, commit in ipairs(group.commits) do
    if commit.owner then
      places[#places + 1] = commit.number
      places[#places + 1] = commit.cursor .. ':' .. commit.claimed
    end
  end
  set_all(group.segments, places)
end

-- KEYS: meta, then what the commits name. ARGV: count of commits, the commits as above; then a guarded write that goes with
-- the first, or nothing. Answers for each whether it is fenced, or the places of the batches that were withdrawn.
local function commit(keys, args)
  may(keys[1], 'HSET', 'HDEL', 'HINCRBY', 'ZREM')
  local meta = load(keys[1])
  raised(keys[1], meta)
  local commits, a = {}, 2
  for at = 1, tonumber(args[1]) do
    commits[at], a = read_commit(keys, args, a)
  end
  local groups = look(commits, meta)
  for _, one in ipairs(commits) do
    if one.owner then
      check_types(one)
    end
  end
  local also = nil
  if a <= #args and commits[1].owner then
    also = parse(keys, args, a)
    local refused = refusal(also)
    if refused then
      return { 'refused', refused }
    end
  end
  local answer, holds = { 'ok' }, false
  for at, one in ipairs(commits) do
    if one.owner then
      answer[at + 1] = move(one)
      holds = holds or holds_more(one)
    else
      answer[at + 1] = 'fenced'
    end
  end
  for _, group in pairs(groups) do
    put_places(group)
  end
  if also then
    perform(also)
  end
  if holds then
    redis.call('HINCRBY', keys[1], 'holds', 1)
  end
  return answer
end

-- Puts batches into lanes. KEYS: meta, then what they name. ARGV: log epoch that the caller's right is of or '', the most
-- references of a lane, count of batches, then of each (segments, lanes, lane, places, what the replay has queued or '0',
-- segment, references, whether the bound applies, batch of the replay, the batch); then a guarded write, or nothing.
-- Answers for each what became of it.
local function enqueue(keys, args)
  may(keys[1], 'HSET', 'HINCRBY', 'ZADD')
  local meta = load(keys[1])
  raised(keys[1], meta)
  if args[1] ~= '' and args[1] ~= meta.epoch then
    return { 'refused', 0 }
  end
  local most, n, a = tonumber(args[2]), tonumber(args[3]), 4
  local also = nil
  if a + 10 * n <= #args then
    also = parse(keys, args, a + 10 * n)
    local refused = refusal(also)
    if refused then
      return { 'refused', refused }
    end
  end
  for at = 0, n - 1 do
    for k = 0, 4 do
      local key = keys[tonumber(args[a + 10 * at + k])]
      if key then
        must_be(key, k == 3 and 'zset' or 'hash')
      end
    end
  end
  local answer, holds = { 'ok' }, false
  for at = 1, n do
    local segments, lanes = keys[tonumber(args[a])], keys[tonumber(args[a + 1])]
    local lane, places, queued = keys[tonumber(args[a + 2])], keys[tonumber(args[a + 3])], keys[tonumber(args[a + 4])]
    local number, count, bounded = args[a + 5], tonumber(args[a + 6]), args[a + 7] == '1'
    local place, born = unpack(redis.call('HMGET', segments, number, 'born'))
    local field = args[a + 8] .. ':' .. number .. ':' .. tostring(born)
    local figures = redis.call('HMGET', lanes, 'l' .. number, 'r' .. number)
    local last, references = tonumber(figures[1] or 0), tonumber(figures[2] or 0)
    if not place then
      answer[at + 1] = 'nogroup'
    elseif queued and redis.call('HEXISTS', queued, field) == 1 then
      answer[at + 1] = 'already'
    elseif bounded and references > 0 and references + count > most then
      answer[at + 1] = 'full'
    else
      local seq = text(last + 1)
      if queued then
        redis.call('HSET', queued, field, '')
      end
      redis.call('HSET', lane, seq, args[a + 9])
      redis.call('ZADD', places, seq, seq .. ':' .. text(count))
      redis.call('HSET', lanes, 'l' .. number, seq, 'r' .. number, text(references + count))
      answer[at + 1] = 'queued'
      holds = true
    end
    a = a + 10
  end
  if also then
    perform(also)
  end
  if holds then
    redis.call('HINCRBY', keys[1], 'holds', 1)
  end
  return answer
end

-- Takes batches out of a lane of which nothing was handed over. KEYS: meta, then lanes, lane, places. ARGV: segment, then
-- (place, references, progress that was read or '') of each. Answers how many references went.
local function withdraw(keys, args)
  may(keys[1], 'HDEL', 'HINCRBY', 'ZREM')
  load(keys[1])
  must_be(keys[2], 'hash')
  must_be(keys[3], 'hash')
  must_be(keys[4], 'zset')
  local went = 0
  for a = 2, #args, 3 do
    local progress = redis.call('HGET', keys[3], 'p' .. args[a]) or ''
    if progress == args[a + 2] and redis.call('HDEL', keys[3], args[a]) == 1 then
      redis.call('HDEL', keys[3], 'p' .. args[a])
      redis.call('ZREM', keys[4], args[a] .. ':' .. args[a + 1])
      went = went + tonumber(args[a + 1])
    end
  end
  redis.call('HINCRBY', keys[2], 'r' .. args[1], text(-went))
  return { 'ok', went }
end

-- What lets consumers go on is done also where the server is full: it overwrites, and what it adds is bounded.
redis.register_function({ function_name = 'er_lease_VERSION', callback = lease, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'er_commit_VERSION', callback = commit, flags = { 'allow-oom' } })
-- The same with dead letters, which are not bounded.
redis.register_function('er_report_VERSION', commit)
redis.register_function('er_enqueue_VERSION', enqueue)
redis.register_function('er_withdraw_VERSION', withdraw)
