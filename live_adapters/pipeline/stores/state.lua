-- Writes the latest state of keys, partition by partition, unless what is there is newer.
-- ARGV per partition: partition, expected offset ('' takes any older one: the whole state), next offset, names, values.
-- Names are separated by spaces; values are 24 bytes each. Returns the offset that each partition has afterwards.
local VALUE, CHUNK = 24, 2000
local offsets = {}
for first = 1, #ARGV, 5 do
    local guard = 'offset:' .. ARGV[first]
    local expected, following = ARGV[first + 1], ARGV[first + 2]
    local last = redis.call('GET', guard)
    local whole = expected == '' and (not last or tonumber(last) < tonumber(following))
    if whole or last == expected then
        local values, pairs, at, filled = ARGV[first + 4], {}, 0, 0
        for name in string.gmatch(ARGV[first + 3], '%S+') do
            pairs[filled + 1] = name
            pairs[filled + 2] = string.sub(values, at + 1, at + VALUE)
            at, filled = at + VALUE, filled + 2
            if filled == 2 * CHUNK then
                redis.call('MSET', unpack(pairs))
                pairs, filled = {}, 0
            end
        end
        if filled > 0 then redis.call('MSET', unpack(pairs)) end
        redis.call('SET', guard, following)
        last = following
    end
    offsets[#offsets + 1] = last or ''
end
return offsets
