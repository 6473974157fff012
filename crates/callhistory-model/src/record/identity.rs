//! The ID of a record that was sent without one.

use sha2::{Digest, Sha256};

use crate::{CallId, CallInput, FieldWarning, Scalar, WarningCode};

/// The members in which platforms send the ID of a call, the most specific first.
const ID_MEMBERS: [&str; 17] = [
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
/// Digits of a derived ID, as many as a generated one has.
const DERIVED_DIGITS: usize = 24;

impl CallInput {
    /// Sets the `_id` of a record that has none: its `callId` or, with the `document` of another platform, the ID of the call in a
    /// member that platforms use, or else a digest of the document. The same record gets the same ID whenever it is sent. An ID that is not allowed as
    /// `_id` is replaced by its digest and stays in its member.
    ///
    /// ```
    /// use callhistory_model::{CallInput, Handling};
    ///
    /// let document = br#"{"uuid": "86cfd6e2-dbda"}"#;
    /// let mut call = CallInput::parse(document, Handling::Lenient)?.input;
    /// assert_eq!(call.derive_id(None), None);
    /// let warning = call.derive_id(Some(document)).unwrap();
    /// assert_eq!(call.id.unwrap().as_str(), "86cfd6e2-dbda");
    /// assert_eq!(warning.code.as_str(), "id_derived");
    /// # Ok::<(), callhistory_model::FieldErrors>(())
    /// ```
    pub fn derive_id(&mut self, document: Option<&[u8]>) -> Option<FieldWarning> {
        if self.id.is_some() {
            return None;
        }
        let text = |json: &str| match Scalar::from_json(json)? {
            Scalar::Text(text) => Some(text).filter(|text| !text.is_empty()),
            Scalar::Number(_) => Some(json.to_owned()),
            Scalar::Bool(_) | Scalar::Null => None,
        };
        let member = |name: &&'static str| {
            let (_, json) = self.extra.iter().find(|(known, _)| known == name)?;
            Some((*name, text(json.as_str())?))
        };
        let call_id = self.call_id.clone().filter(|id| !id.is_empty()).map(|id| ("callId", id));
        let platform_id = || document.and_then(|_| ID_MEMBERS.iter().find_map(member));
        let (id, origin) = match call_id.or_else(platform_id) {
            Some((name, text)) => match text.parse::<CallId>() {
                Ok(id) => (id, format!("is the value of {name:?}")),
                Err(_) => (digest(text.as_bytes())?, format!("is a digest of {name:?}, which cannot be an ID")),
            },
            None => (digest(document?)?, "is a digest of the document, which has no ID of a call".to_owned()),
        };
        let warning = FieldWarning::new(WarningCode::IdDerived, format!("{origin}: {:?}", id.as_str()));
        self.id = Some(id);
        Some(warning.prefix_pointer("/_id"))
    }
}

fn digest(bytes: &[u8]) -> Option<CallId> {
    let digits: String =
        Sha256::digest(bytes).iter().take(DERIVED_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    digits.parse().ok()
}
