//! A generated history, the same for the same seed and end.

use std::sync::Arc;

use callhistory_model::{
    CallCost, CallId, CallInput, CallStatus, CallType, Direction, FieldError, Timestamp, WorkspaceId,
};
use callhistory_store::{CallStore, Precondition, StoreError};
use chrono::{DateTime, Utc};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The workspace that the demonstration fills.
pub const WORKSPACE: &str = "demo";

const DAYS: i64 = 30;
/// Writes in flight, enough to share commits.
const WRITES_IN_FLIGHT: usize = 256;

struct Flow {
    id: &'static str,
    name: &'static str,
    agents: &'static [(&'static str, &'static str)],
    direction: Direction,
    opening: &'static str,
    turns: &'static [(&'static str, &'static str)],
    function: &'static str,
    outcomes: &'static [(&'static str, &'static str)],
}

const FLOWS: &[Flow] = &[
    Flow {
        id: "flow-support",
        name: "Order support",
        agents: &[("agent-maya", "Maya"), ("agent-jonas", "Jonas")],
        direction: Direction::Inbound,
        opening: "Thank you for calling. How can I help you with your order?",
        turns: &[
            ("user", "My parcel was to arrive on Tuesday, and it is not here."),
            ("agent", "I am sorry about that. Could you give me the order number?"),
            ("user", "It ends in four two seven."),
            ("agent", "Thank you. The carrier has it and will deliver it tomorrow before noon."),
        ],
        function: "lookup_order",
        outcomes: &[
            ("resolved", "The caller asked about a late parcel and was told the new delivery date."),
            ("refund", "The caller's parcel was lost; a refund was started."),
            ("escalated", "The caller wanted to speak to a person and was handed over."),
        ],
    },
    Flow {
        id: "flow-appointments",
        name: "Appointment reminders",
        agents: &[("agent-lena", "Lena")],
        direction: Direction::Outbound,
        opening: "Hello, this is the clinic with a reminder of your appointment on Thursday at ten.",
        turns: &[
            ("user", "Oh, could we move it to the afternoon?"),
            ("agent", "Two thirty is free. Shall I book that for you?"),
            ("user", "Yes, please."),
        ],
        function: "move_appointment",
        outcomes: &[
            ("confirmed", "The patient confirmed the appointment."),
            ("moved", "The patient moved the appointment to the afternoon."),
            ("canceled", "The patient canceled the appointment and will call again."),
        ],
    },
    Flow {
        id: "flow-qualify",
        name: "Lead qualification",
        agents: &[("agent-omar", "Omar"), ("agent-ines", "Inès")],
        direction: Direction::Outbound,
        opening: "Hello, you asked us about solar panels. Is now a good time for three questions?",
        turns: &[
            ("user", "Sure, go ahead."),
            ("agent", "Do you own the roof, and roughly how large is it?"),
            ("user", "We own it. Perhaps eighty square metres."),
        ],
        function: "score_lead",
        outcomes: &[
            ("qualified", "The lead owns a suitable roof and wants an offer."),
            ("not_now", "The lead is interested, but not before next year."),
            ("not_interested", "The lead is not interested any more."),
        ],
    },
];

/// The calls of the thirty days before `end`, oldest first.
///
/// # Errors
///
/// Fails only if a generated value breaks a rule of the record.
pub fn history(seed: u64, calls: u32, end: DateTime<Utc>) -> Result<Vec<(CallId, CallInput)>, FieldError> {
    let mut rng = Rng::with_seed(seed);
    let first = end.timestamp_millis() - DAYS * 86_400_000;
    let mut starts: Vec<i64> = (0..calls).map(|_| first + moment(&mut rng)).collect();
    starts.sort_unstable();
    starts
        .into_iter()
        .enumerate()
        .map(|(number, start)| call(&mut rng, number, start, end.timestamp_millis()))
        .collect()
}

/// A moment of the thirty days, more often in working hours.
fn moment(rng: &mut Rng) -> i64 {
    let hour = if rng.u8(0..10) < 8 { rng.i64(8..18) } else { rng.i64(0..24) };
    rng.i64(0..DAYS) * 86_400_000 + hour * 3_600_000 + rng.i64(0..3_600_000)
}

fn status(rng: &mut Rng, age_millis: i64) -> CallStatus {
    if age_millis < 900_000 {
        let live = [CallStatus::Ongoing, CallStatus::Active, CallStatus::InProgress, CallStatus::Queued];
        return live[rng.usize(0..live.len())].clone();
    }
    match rng.u8(0..100) {
        0..70 => CallStatus::Completed,
        70..78 => CallStatus::NoAnswer,
        78..84 => CallStatus::Failed,
        84..89 => CallStatus::Busy,
        89..93 => CallStatus::Canceled,
        // A platform leaves these behind when it never learns how a call ended.
        93 => CallStatus::Ongoing,
        94 => CallStatus::Active,
        95 => CallStatus::InProgress,
        96 => CallStatus::Queued,
        97 => CallStatus::Ringing,
        _ => CallStatus::Waiting,
    }
}

fn call(rng: &mut Rng, number: usize, start: i64, end: i64) -> Result<(CallId, CallInput), FieldError> {
    let id = format!("{start:012x}{number:012x}").parse()?;
    let flow = &FLOWS[rng.usize(0..FLOWS.len())];
    let (agent_id, agent) = flow.agents[rng.usize(0..flow.agents.len())];
    let web = rng.u8(0..5) == 0;
    let status = status(rng, end - start);
    let customer = format!("+1555{:07}", rng.u32(0..10_000_000));
    let ours = "+18005550100".to_owned();
    let (from, to) = if flow.direction == Direction::Inbound { (customer, ours) } else { (ours, customer) };
    let mut input = CallInput {
        agent_id: Some(agent_id.to_owned()),
        agent: Some(agent.to_owned()),
        call_flow_id: Some(flow.id.to_owned()),
        call_flow_name: Some(flow.name.to_owned()),
        room_name: Some(format!("{}-{:08x}", if web { "web" } else { "sip" }, rng.u32(..))),
        direction: Some(if web { Direction::Bidirectional } else { flow.direction.clone() }),
        call_type: Some(if web { CallType::Web } else { CallType::Sip }),
        from_phone_number: Some(if web { "anonymous".to_owned() } else { from }),
        to_phone_number: Some(to),
        start_time: Some(seconds(start).parse()?),
        call_id: Some(format!("CA{:016x}{:016x}", rng.u64(..), rng.u64(..))),
        batch_id: (flow.direction == Direction::Outbound).then(|| format!("batch-{}", start / 86_400_000)),
        metadata: Some(metadata(rng).to_string().parse()?),
        created_at: Some(timestamp(start)?),
        updated_at: Some(timestamp(start)?),
        ..CallInput::default()
    };
    if status == CallStatus::Completed {
        complete(rng, &mut input, flow, start)?;
    } else if matches!(status, CallStatus::NoAnswer | CallStatus::Failed | CallStatus::Busy | CallStatus::Canceled) {
        let ended = start + rng.i64(2_000..45_000);
        input.end_time = Some(seconds(ended).parse()?);
        input.updated_at = Some(timestamp(ended)?);
        input.cost = Some(CallCost::new([("customer_charge", "0.00".parse()?)])?);
    }
    input.status = Some(status);
    Ok((id, input))
}

/// Adds what is known of a completed and analysed call.
fn complete(rng: &mut Rng, input: &mut CallInput, flow: &Flow, start: i64) -> Result<(), FieldError> {
    let length = rng.i64(20_000..480_000);
    let ended = start + length;
    let telephony = length * 130 / 60_000;
    let llm = rng.i64(40..900);
    let ten_thousandths = |amount: i64| format!("{}.{:04}", amount / 10_000, amount % 10_000).parse();
    let charge = ((telephony + llm) * 13 / 10).max(100);
    let (outcome, summary) = flow.outcomes[rng.usize(0..flow.outcomes.len())];
    let mut transcript = vec![json!({"role": "agent", "content": flow.opening})];
    transcript.extend(flow.turns.iter().map(|(role, content)| json!({"role": role, "content": content})));
    let call = json!([{"name": flow.function, "arguments": {"reference": rng.u32(100_000..1_000_000)}, "result": {"outcome": outcome}}]);
    let sentiment = ["positive", "neutral", "negative"][rng.usize(0..3)];
    input.end_time = Some(seconds(ended).parse()?);
    input.duration = Some(format!("{}.{:03}", length / 1000, length % 1000).parse()?);
    input.cost = Some(CallCost::new([
        ("customer_charge", ten_thousandths(charge)?),
        ("telephony", ten_thousandths(telephony)?),
        ("llm", ten_thousandths(llm)?),
    ])?);
    input.summary = Some(summary.to_owned());
    input.function_calls = Some(call.to_string().parse()?);
    input.analyzed_data =
        Some(json!({"outcome": outcome, "sentiment": sentiment, "score": rng.u8(1..=10)}).to_string().parse()?);
    input.transcript = Some(Value::Array(transcript).to_string().parse()?);
    input.recording_url = Some(format!("https://recordings.example.com/{:016x}.ogg", rng.u64(..)));
    // The analysis comes a little after the call.
    input.updated_at = Some(timestamp(ended + rng.i64(1_000..20_000))?);
    Ok(())
}

fn metadata(rng: &mut Rng) -> Value {
    let campaign = ["spring", "newsletter", "referral", "none"][rng.usize(0..4)];
    json!({"campaign": campaign, "customer": format!("cus_{:06}", rng.u32(0..20_000)), "priority": rng.u8(1..=3)})
}

fn seconds(millis: i64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn timestamp(millis: i64) -> Result<Timestamp, FieldError> {
    let moment = DateTime::from_timestamp_millis(millis);
    Ok(moment.unwrap_or_default().into())
}

/// Writes a history into a store.
///
/// # Errors
///
/// The first write that fails.
pub async fn fill(
    store: &Arc<dyn CallStore>,
    calls: Vec<(CallId, CallInput)>,
    now: &Timestamp,
) -> Result<(), StoreError> {
    let workspace: WorkspaceId =
        WORKSPACE.parse().map_err(|error: FieldError| StoreError::Internal(error.to_string()))?;
    let mut writes = JoinSet::new();
    for (id, input) in calls {
        if writes.len() == WRITES_IN_FLIGHT {
            finish(writes.join_next().await)?;
        }
        let (store, workspace, now) = (Arc::clone(store), workspace.clone(), now.clone());
        writes.spawn(async move {
            store.replace_call(&workspace, &id, input.into(), Precondition::default(), now).await.map(drop)
        });
    }
    while let Some(written) = writes.join_next().await {
        finish(Some(written))?;
    }
    Ok(())
}

fn finish(written: Option<Result<Result<(), StoreError>, tokio::task::JoinError>>) -> Result<(), StoreError> {
    match written {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(StoreError::Internal(error.to_string())),
        None => Ok(()),
    }
}
