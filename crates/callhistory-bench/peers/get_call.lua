-- Reads records at random with wrk: wrk -t1 -c64 -d3 -s get_call.lua http://127.0.0.1:PORT/
--
-- The file `ids` has one ID a line (SELECT id FROM call ORDER BY random() LIMIT 200000), the file `key` has the API key. For the
-- first page, `request` returns wrk.format("GET", "/v2/api/call-history?limit=50") instead.
local ids = {}
for line in io.lines("ids") do ids[#ids + 1] = line end
wrk.headers["x-workspace-id"], wrk.headers["x-api-key"] = "demo", io.open("key"):read("*l")
function init() math.randomseed(os.time()) end
function request() return wrk.format("GET", "/v2/api/call-history/" .. ids[math.random(#ids)]) end
