//! The ID of a record that was sent without one.

use sha2::{Digest, Sha256};

use super::decode::ParsedCall;
use crate::{CallId, CallInput, FieldWarning, Scalar, WarningCode};

/// Digits of a derived ID, as many as a generated one has.
const DERIVED_DIGITS: usize = 24;

impl CallInput {
    /// The members in which platforms send the ID of a call, the most specific first.
    pub const ID_MEMBERS: [&'static str; 17] = [
        "id",
        "call_id",
        "callid",
        "callID",
        "callSid",
        "call_sid",
        "CallSid",
        "sid",
        "uuid",
        "call_uuid",
        "uniqueid",
        "linkedid",
        "conversation_id",
        "conversationId",
        "session_id",
        "c_id",
        "core-uuid",
    ];
}

impl ParsedCall {
    /// Sets the `_id` of a record that has none: an `_id` that cannot be one becomes its digest; otherwise the `callId` counts or, for
    /// a document `of_any_source`, the ID of the call in a member that platforms use ([`CallInput::ID_MEMBERS`]), or else a digest of the document. The same
    /// document gets the same ID whenever it is sent.
    ///
    /// ```
    /// use callhistory_model::{CallInput, Handling};
    ///
    /// let document = br#"{"uuid": "86cfd6e2-dbda"}"#;
    /// let mut parsed = CallInput::parse(document, Handling::Lenient)?;
    /// parsed.derive_id(document, false);
    /// assert_eq!(parsed.input.id, None);
    /// parsed.derive_id(document, true);
    /// assert_eq!(parsed.input.id.unwrap().as_str(), "86cfd6e2-dbda");
    /// assert_eq!(parsed.warnings.last().unwrap().code.as_str(), "id_derived");
    /// # Ok::<(), callhistory_model::FieldErrors>(())
    /// ```
    pub fn derive_id(&mut self, document: &[u8], of_any_source: bool) {
        if self.input.id.is_some() {
            return;
        }
        let Some((id, origin)) = self.derived_id(document, of_any_source) else { return };
        let warning = FieldWarning::new(WarningCode::IdDerived, format!("{origin}: {:?}", id.as_str()));
        self.input.id = Some(id);
        self.warnings.push(warning.prefix_pointer("/_id"));
    }

    fn derived_id(&self, document: &[u8], of_any_source: bool) -> Option<(CallId, String)> {
        let text = |json: &str| match Scalar::from_json(json)? {
            Scalar::Text(text) => Some(text).filter(|text| !text.is_empty()),
            Scalar::Number(_) => Some(json.to_owned()),
            Scalar::Bool(_) | Scalar::Null => None,
        };
        let member = |name: &&'static str| {
            let (_, json) = self.input.extra.iter().find(|(known, _)| known == name)?;
            Some((*name, text(json.as_str())?))
        };
        let refused = self.refused_id.clone().map(|id| ("_id", id));
        let call_id = || self.input.call_id.clone().map(|id| ("callId", id));
        let platform_id = || CallInput::ID_MEMBERS.iter().find_map(member).filter(|_| of_any_source);
        let known = refused.filter(|(_, id)| !id.is_empty());
        let known = known.or_else(|| call_id().filter(|(_, id)| !id.is_empty())).or_else(platform_id);
        let Some((name, text)) = known else {
            let origin = "is a digest of the document, which has no ID of a call";
            return Some((digest(document)?, origin.to_owned())).filter(|_| of_any_source);
        };
        if text.contains('\u{fffd}') {
            let origin = format!("is a digest of the document, because characters of {name:?} are lost");
            return Some((digest(document)?, origin));
        }
        match text.parse::<CallId>() {
            Ok(id) => Some((id, format!("is the value of {name:?}"))),
            Err(_) => Some((digest(text.as_bytes())?, format!("is a digest of {name:?}, which cannot be an ID"))),
        }
    }
}

fn digest(bytes: &[u8]) -> Option<CallId> {
    let digits: String =
        Sha256::digest(bytes).iter().take(DERIVED_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    digits.parse().ok()
}
