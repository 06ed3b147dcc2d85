-- Functions are done whole or not at all, also while their slot is on its way to another node of a cluster. A node then takes
-- a key that is not there for one that has gone: a function that removes a key and touches it again would be refused in its
-- midst, and what it did until then is not undone; and the node that the slot goes to takes a key that has not come for one
-- that is not there, so that a function which reads would find less than there is. So it is refused before it begins, and its
-- caller tries again until the slot has arrived, or reads key by key.

-- Whether the server is a node of a cluster, as it is from its start to its end. Where it may not be asked, it may be one.
local is_node = nil
local function is_of_cluster()
  if is_node == nil then
    local info = redis.pcall('INFO', 'cluster')
    is_node = type(info) ~= 'string' or not string.find(info, 'cluster_enabled:0', 1, true)
  end
  return is_node
end

-- Whether this node has the slot half-way: it then refuses keys of which one is there and one never is, each program in words
-- of its own. Who may not ask is told by the function itself what right is missing.
local function is_on_the_way(key)
  local never = key .. ':never'
  local answer = redis.pcall('EXISTS', key, never)
  return type(answer) == 'table' and answer.err and redis.acl_check_cmd('EXISTS', key, never)
end

-- Takes the place of `redis.register_function` in what follows.
local function register(name, callback)
  local spec = callback and { function_name = name, callback = callback } or name
  redis.register_function({
    function_name = spec.function_name,
    flags = spec.flags or {},
    callback = function(keys, args)
      if is_of_cluster() and is_on_the_way(keys[1]) then
        return redis.error_reply('TRYAGAIN the slot of this partition is on its way to another node')
      end
      return spec.callback(keys, args)
    end,
  })
end
