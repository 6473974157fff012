//! Records for documentation and tests.

use crate::{CallInput, CallRecord};

/// The example of the API page *Get a Specific Call History*, digit for digit.
pub const SOURCE_EXAMPLE: &str = r#"{
  "_id": "1234567890abcdef",
  "workspaceId": "abcdef1234567890",
  "agentId": "abcdef1234567890",
  "callFlowId": "abcdef1234567890",
  "roomName": "web-1234abcd",
  "direction": "outbound",
  "fromPhoneNumber": "+10000000000",
  "toPhoneNumber": "+10000000001",
  "status": "completed",
  "startTime": 1680000000,
  "endTime": 1680000300,
  "cost": {
    "customer_charge": 0.10
  },
  "metadata": {},
  "functionCalls": [],
  "summary": "Generic conversation summary about customer engagement.",
  "analyzedData": {
    "additional_field": "generic details"
  },
  "createdAt": "2025-01-01T10:00:00Z",
  "updatedAt": "2025-01-01T10:05:00Z"
}
"#;

/// A record that has every member, with values that are hard to keep: fractions, long digits, nested data.
pub const COMPLETE_EXAMPLE: &str = r#"{
  "_id": "67375a0f2b8c4e001f3d9a11",
  "workspaceId": "abcdef1234567890",
  "agentId": "agent-support-en",
  "callFlowId": "flow-returns",
  "roomName": "sip-4f2a91c7",
  "direction": "inbound",
  "fromPhoneNumber": "sip:alice@example.com",
  "toPhoneNumber": "+18005550100",
  "status": "completed",
  "startTime": 1737062894.9754236,
  "endTime": 1737063021.5,
  "cost": {
    "customer_charge": 0.10,
    "telephony": 0.0125,
    "llm": 0.0300,
    "currency": "USD"
  },
  "metadata": {"crm": {"ticket": 12345678901234567890123, "score": 4.50}, "tags": ["vip", "returns"]},
  "functionCalls": [{"name": "lookup_order", "arguments": {"order": "A-1009"}, "result": {"total": 59.90}}],
  "summary": "The caller returns an order and asks for a refund.",
  "analyzedData": {"sentiment": "positive", "resolved": true},
  "createdAt": "2025-01-16T21:28:14.975Z",
  "updatedAt": "2025-01-16T21:30:21.5Z",
  "callId": "CA0123456789abcdef",
  "batchId": "batch-7",
  "callType": "sip",
  "agent": "Support (English)",
  "callFlowName": "Returns",
  "duration": 126.5245764,
  "answeredAt": 1737062899.25,
  "recordingUrl": "https://recordings.example.com/67375a0f.wav",
  "variables": {"language": "en"},
  "transcript": [{"role": "agent", "content": "How can I help?"}, {"role": "user", "content": "I want to return an order."}]
}
"#;

/// The source's example as a record.
#[must_use]
#[expect(clippy::expect_used, reason = "a literal that every test run parses")]
pub fn source_example() -> CallRecord {
    serde_json::from_str(SOURCE_EXAMPLE).expect("the example is a record")
}

/// The source's example as a caller writes it.
#[must_use]
pub fn source_input() -> CallInput {
    source_example().into()
}
