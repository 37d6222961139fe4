-- Sends each request of the file in $BENCH_REQUESTS once and ends. A line there is a
-- path, and after a blank the value of its Authorization field, if it takes one.
-- For one thread (`wrk -t1`). Prints what it sent, in seconds of its own clock, because
-- wrk itself waits for the end of its duration.

local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long seconds; long nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
  int getpid(void);
  int kill(int process, int signal);
]]
local MONOTONIC, INTERRUPT = 1, 2

local requests, at, answered, bad = {}, 0, 0, 0
local began

local function now()
  local moment = ffi.new("moment[1]")
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment[0].seconds) + tonumber(moment[0].nanoseconds) / 1e9
end

function init()
  for line in io.lines(os.getenv("BENCH_REQUESTS")) do
    local path, authorization = line:match("^(%S+) ?(.*)$")
    table.insert(requests, wrk.format("GET", path, {
      ["Accept"] = os.getenv("BENCH_ACCEPT"),
      ["Authorization"] = authorization ~= "" and authorization or nil,
    }))
  end
end

function request()
  began = began or now()
  at = at + 1
  return requests[at] or requests[#requests]
end

function response(status)
  answered = answered + 1
  if status ~= 200 then bad = bad + 1 end
  if answered == #requests then
    io.write(string.format("replayed %d %.6f %d\n", answered, now() - began, bad))
    io.flush()
    wrk.thread:stop()
    ffi.C.kill(ffi.C.getpid(), INTERRUPT)
  end
end
