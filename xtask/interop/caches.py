"""Reads through CacheControl as several callers. The arguments are the service and its keys; the second one gets masked numbers."""

import sys

import requests
from cachecontrol import CacheControl

base, *keys = sys.argv[1:]
NUMBER = "+4915112345678"
filler = {"filler": "x" * 2000}
url = f"{base}/v2/api/call-history/python-cache"
callers = [{"x-workspace-id": f"python-{name}", "x-api-key": key} for name in "ab" for key in keys]

for caller in callers[::2]:
    body = {"fromPhoneNumber": NUMBER, "summary": caller["x-workspace-id"], "metadata": filler}
    requests.put(url, json=body, headers=caller).raise_for_status()

hits = 0
for asks in ({}, {"cache-control": "no-cache"}, {"cache-control": "max-age=0"}):
    session = CacheControl(requests.Session())
    for caller in [caller for caller in callers for _ in range(2)] * 2:
        seen = session.get(url, headers=caller | asks)
        assert seen.status_code == 200 and seen.json()["workspaceId"] == caller["x-workspace-id"], (caller, seen.text)
        assert (seen.json()["fromPhoneNumber"] == NUMBER) == (caller["x-api-key"] == keys[0]), (caller, seen.text)
        assert asks or not seen.from_cache, "nobody asked for a response to keep"
        hits += seen.from_cache
assert hits == 16, f"only {hits} responses were revalidated"
print(f"CacheControl: every caller got its own record, {hits} times from the cache")
