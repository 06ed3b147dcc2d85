-- Which of these commands the user may not run on a key of the namespace. It changes nothing, so it answers when memory is
-- used up as well.

-- KEYS: meta. ARGV: commands, each with its arguments and the count of its words before them; `KEY` is the key.
local function rights(keys, args)
  local missing, a = {}, 1
  while a <= #args do
    local n, words = tonumber(args[a]), {}
    for i = 1, n do
      local word = args[a + i]
      words[i] = word == 'KEY' and keys[1] or word
    end
    local asked, may_run = pcall(redis.acl_check_cmd, unpack(words))
    -- A command that this server does not know needs no right.
    if asked and not may_run then
      missing[#missing + 1] = table.concat(words, ' ')
    end
    a = a + n + 1
  end
  return missing
end

redis.register_function{ function_name = 'er_rights_VERSION', callback = rights, flags = { 'no-writes' } }
