"""What runs inside Redis: whatever has to be exact when several gateways do it at once, in one round trip each.

Redis runs one script at a time, so between the steps of a script nobody else sees half of it; nor does a crash leave
half of it behind, since the append-only file has the script's writes as one transaction. All keys of a store begin with
the same ``{name}``, a hash tag, so that they are on one node of a cluster:

=========================  ============================================================================================
``…e:PLACE``               hash of an entry: ``d`` its JSON, ``i`` its id, ``x`` when it expires. Redis itself lets it
                           expire. A *place* is the digest of a partition and a key.
``…v:EMBEDDER:PARTITION``  vector set of the entries of a partition: the elements are places
``…m``                     hash: what has to be known of each place when it goes: ``seq freq bytes cost vset``
``…u``                     sorted set: places in the order in which they have to go
``…x``                     sorted set: places by the time when they expire
``…s``                     hash: ``seq``, counted up with every use; ``bytes`` of all; ``floor`` of the priorities
=========================  ============================================================================================
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple

__all__ = ["DROP", "NEAREST", "PUT", "TOUCH", "TRIM", "Script"]


class Script(NamedTuple):
    """A script, and the name that Redis gives it."""

    text: str
    sha: str


_COMMON = """
local P = KEYS[1]
local E, M, U, X, S = P .. 'e:', P .. 'm', P .. 'u', P .. 'x', P .. 's'

local function clock(told)  -- an entry is dead as soon as Redis's clock or the gateway's says so
  local time = redis.call('TIME')
  return math.max(tonumber(time[1]) + tonumber(time[2]) / 1e6, tonumber(told))
end

local function notes(place)
  local text = redis.call('HGET', M, place)
  if not text then return nil end
  return string.match(text, '^(%x+) (%d+) (%d+) (%S+) (%S*)$')
end

local function remove(place)
  local seq, _, bytes, _, vset = notes(place)
  if seq then
    redis.call('ZREM', U, seq .. place)
    redis.call('HINCRBY', S, 'bytes', -tonumber(bytes))
    if vset ~= '' then redis.pcall('VREM', vset, place) end
  end
  redis.call('HDEL', M, place)
  redis.call('ZREM', X, place)
  redis.call('DEL', E .. place)
end

local function rank(how, seq, freq, bytes, cost)
  if how == 'lru' then return seq end
  if how == 'lfu' then return freq end
  return tonumber(redis.call('HGET', S, 'floor') or '0') + freq * cost / math.max(bytes, 1)  -- see algorithms/shelf
end

local function note(how, place, seq, freq, bytes, cost, vset)
  local order = string.format('%014x', seq)  -- among equals the one that was used longest ago goes first
  redis.call('HSET', M, place, string.format('%s %d %d %.17g %s', order, freq, bytes, cost, vset))
  redis.call('ZADD', U, string.format('%.17g', rank(how, seq, freq, bytes, cost)), order .. place)
end

local function expire(place, expires)  -- '' is never
  redis.call('HSET', E .. place, 'x', expires)
  if expires == '' then
    redis.call('PERSIST', E .. place)
    redis.call('ZREM', X, place)
  else
    redis.call('PEXPIREAT', E .. place, string.format('%.0f', math.ceil(tonumber(expires) * 1000)))
    redis.call('ZADD', X, expires, place)
  end
end

local function trim(now, capacity, most_bytes, how, steps)  -- whether it is within both by then
  for _ = 1, steps do
    local bytes = tonumber(redis.call('HGET', S, 'bytes') or '0')
    if redis.call('ZCARD', U) <= capacity and bytes <= most_bytes then return 1 end
    local place = redis.call('ZRANGE', X, '-inf', string.format('%.17g', now), 'BYSCORE', 'LIMIT', 0, 1)[1]
    if not place then
      local least = redis.call('ZPOPMIN', U)
      if #least == 0 then  -- somebody deleted it
        redis.call('HSET', S, 'bytes', 0)
        return 1
      end
      place = string.sub(least[1], 15)
      if how == 'cost' then redis.call('HSET', S, 'floor', least[2]) end
    end
    remove(place)
  end
  return 0
end
"""

_DROP = """
local place, id = ARGV[1], ARGV[2]
local there = redis.pcall('HGET', E .. place, 'i')  -- false if it is gone; an error if it is no hash
if type(there) == 'string' and id ~= '' and there ~= id then return 0 end
remove(place)
return 1
"""

# Two clocks or none: what expired is not only skipped but removed, so the next search does not meet it again.
_NEAREST = """
local vset, vector, now = ARGV[1], ARGV[2], clock(ARGV[3])
for _ = 1, 16 do
  local found = redis.call('VSIM', vset, 'FP32', vector, 'WITHSCORES', 'COUNT', 1)
  if #found == 0 then return false end
  local place = found[1]
  local got = redis.pcall('HMGET', E .. place, 'd', 'x')
  if not got.err and got[1] and got[2] and (got[2] == '' or (tonumber(got[2]) or 0) > now) then
    local raw = redis.call('VEMB', vset, place, 'RAW')
    return {place, got[1], got[2], raw[1], raw[2]}
  end
  remove(place)
  redis.call('VREM', vset, place)  -- also where it stands in this set without a note
end
return false
"""

_PUT = """
local place, id, body, expires, told = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local bytes, cost, vset, vector = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9]
local capacity, most_bytes, how = tonumber(ARGV[10]), tonumber(ARGV[11]) or math.huge, ARGV[12]
local seq = redis.call('HINCRBY', S, 'seq', 1)  -- before anything else: where memory has run out, this is refused
local now = clock(told)
for _, gone in ipairs(redis.call('ZRANGE', X, '-inf', string.format('%.17g', now), 'BYSCORE', 'LIMIT', 0, 16)) do
  remove(gone)
end
remove(place)
if (expires ~= '' and tonumber(expires) <= now) or bytes > most_bytes then return 1 end
local room = trim(now, capacity - 1, most_bytes - bytes, how, 128)  -- first, or the new one might be the least
if vset ~= '' then redis.call('VADD', vset, 'FP32', vector, place, 'NOQUANT') end
redis.call('HSET', E .. place, 'd', body, 'i', id)
expire(place, expires)
redis.call('HINCRBY', S, 'bytes', bytes)
note(how, place, seq, 1, bytes, cost, vset)
return room
"""

_TOUCH = """
local place, id, expires, how = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.pcall('HGET', E .. place, 'i') ~= id then return 0 end
local before = redis.call('HGET', E .. place, 'x')
local order, freq, bytes, cost, vset = notes(place)
if not order then return 0 end
redis.call('ZREM', U, order .. place)
note(how, place, redis.call('HINCRBY', S, 'seq', 1), tonumber(freq) + 1, tonumber(bytes), tonumber(cost), vset)
if expires ~= 'as it was' and before ~= '' and (expires == '' or tonumber(expires) > (tonumber(before) or 0)) then
  expire(place, expires)  -- never shorter
end
return 1
"""

_TRIM = """
return trim(clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) or math.huge, ARGV[4], 128)
"""


def _script(text: str, flags: str = "") -> Script:
    whole = f"#!lua{flags}\n{_COMMON}{text}"
    return Script(whole, sha1(whole.encode(), usedforsecurity=False).hexdigest())


#: What frees memory or takes next to none has to work where memory has run out, or no hit could be served then.
_ALWAYS = " flags=allow-oom"

PUT = _script(_PUT)  #: keep an entry; 0 if there is still more than may be, and `TRIM` has to go on
TRIM = _script(_TRIM, _ALWAYS)  #: let entries go, at most 128 a call, so that nobody else waits long
NEAREST = _script(_NEAREST, _ALWAYS)  #: the nearest entry that lives: place, entry, expiry, kind of vector, vector
TOUCH = _script(_TOUCH, _ALWAYS)
DROP = _script(_DROP, _ALWAYS)
