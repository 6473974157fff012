# One function per operation: the samples of the contract for curl. `cargo xtask interop` runs them.

list_calls() {
  curl --fail-with-body --get "http://127.0.0.1:8080/v2/api/call-history" \
    --header "x-workspace-id: abcdef1234567890" \
    --data-urlencode "status=completed,failed" \
    --data-urlencode "startedAfter=2023-01-01T00:00:00Z" \
    --data-urlencode "limit=50"
}

search_calls() {
  curl --fail-with-body --get "http://127.0.0.1:8080/v2/api/call-history/search" \
    --header "x-workspace-id: abcdef1234567890" \
    --data-urlencode "q=customer engagement"
}

create_call() {
  curl --fail-with-body "http://127.0.0.1:8080/v2/api/call-history" \
    --header "x-workspace-id: abcdef1234567890" \
    --header "Idempotency-Key: order-4711" \
    --json '{
      "agentId": "abcdef1234567890",
      "direction": "outbound",
      "fromPhoneNumber": "+10000000000",
      "toPhoneNumber": "+10000000001",
      "status": "ongoing",
      "startTime": 1680000000
    }'
}

import_calls() {
  printf '%s\n' '{"_id":"call-1","status":"completed"}' '{"_id":"call-2","status":"busy"}' |
    curl --fail-with-body "http://127.0.0.1:8080/v2/api/call-history/batch" \
      --header "x-workspace-id: abcdef1234567890" \
      --header "Content-Type: application/x-ndjson" \
      --data-binary @-
}

export_calls() {
  curl --fail-with-body --get "http://127.0.0.1:8080/v2/api/call-history/export" \
    --header "x-workspace-id: abcdef1234567890" \
    --data-urlencode "agentId=abcdef1234567890"
}

get_call_metrics() {
  curl --fail-with-body --get "http://127.0.0.1:8080/v2/api/call-history/metrics" \
    --header "x-workspace-id: abcdef1234567890" \
    --data-urlencode "status=completed,failed" \
    --data-urlencode "groupBy=day" \
    --data-urlencode "timezone=Europe/Berlin"
}

list_call_changes() {
  curl --fail-with-body "http://127.0.0.1:8080/v2/api/call-history/changes?limit=100" \
    --header "x-workspace-id: abcdef1234567890"
}

get_call() {
  curl --fail-with-body "http://127.0.0.1:8080/v2/api/call-history/1234567890abcdef" \
    --header "x-workspace-id: abcdef1234567890"
}

replace_call() {
  curl --fail-with-body --request PUT "http://127.0.0.1:8080/v2/api/call-history/1234567890abcdef" \
    --header "x-workspace-id: abcdef1234567890" \
    --json '{
      "agentId": "abcdef1234567890",
      "status": "completed",
      "startTime": 1680000000,
      "endTime": 1680000300,
      "cost": { "customer_charge": 0.10 },
      "summary": "Generic conversation summary about customer engagement."
    }'
}

update_call() {
  curl --fail-with-body --request PATCH "http://127.0.0.1:8080/v2/api/call-history/1234567890abcdef" \
    --header "x-workspace-id: abcdef1234567890" \
    --header "Content-Type: application/merge-patch+json" \
    --data '{ "metadata": { "ticket": "A-1009" }, "roomName": null }'
}

list_originals() {
  curl --fail-with-body "http://127.0.0.1:8080/v2/api/call-history/1234567890abcdef/originals" \
    --header "x-workspace-id: abcdef1234567890"
}

get_original() {
  curl --fail-with-body "http://127.0.0.1:8080/v2/api/call-history/1234567890abcdef/originals/1" \
    --header "x-workspace-id: abcdef1234567890"
}

delete_call() {
  curl --fail-with-body --request DELETE "http://127.0.0.1:8080/v2/api/call-history/1234567890abcdef" \
    --header "x-workspace-id: abcdef1234567890"
}
