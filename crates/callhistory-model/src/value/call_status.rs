//! The status of a call, and what the words of the field mean.

use super::extensible_enum::extensible_enum;

extensible_enum! {
    /// Call status. Extensible: other values are accepted and returned unchanged.
    CallStatus {
        /// The call is in progress.
        Ongoing = "ongoing",
        /// The call ended normally.
        Completed = "completed",
        /// The call failed.
        Failed = "failed",
        /// The call is connected.
        Active = "active",
        /// The call is connected, in the spelling of telephony providers.
        InProgress = "in-progress",
        /// The call waits in a queue.
        Queued = "queued",
        /// The phone of the callee rings.
        Ringing = "ringing",
        /// The callee did not answer.
        NoAnswer = "no-answer",
        /// The callee was busy.
        Busy = "busy",
        /// The call was canceled before it was answered.
        Canceled = "canceled",
        /// The call waits for an agent.
        Waiting = "waiting",
    }
}

extensible_enum! {
    /// What a status says about the result of a call. Extensible: later versions may add values.
    CallOutcome {
        /// Both sides were connected, and the call ended normally.
        Completed = "completed",
        /// The call could not be made, or broke.
        Failed = "failed",
        /// The callee did not answer.
        NoAnswer = "no-answer",
        /// The callee was busy.
        Busy = "busy",
        /// The call was canceled before it was answered.
        Canceled = "canceled",
        /// A machine or a mailbox answered.
        Voicemail = "voicemail",
        /// The call has not ended.
        Live = "live",
        /// The status is absent, or a word that this version does not know.
        Unknown = "unknown",
    }
}

impl CallOutcome {
    /// The words of each outcome, without separators and in lower case: of this service, of telephony and of voice-agent platforms.
    /// Live words are in the order in which a call passes through them, in groups that are separated by `|`.
    pub const SYNONYMS: &'static [(Self, &'static str)] = &[
        (
            Self::Live,
            "scheduled created new pending registered queued inqueue waiting | initiated initiating started starting dialing \
             calling trying routing forwarding | ringing alerting early preanswer | ongoing active inprogress connected \
             connecting answering talking speaking bridged held onhold hold processing transferring live up",
        ),
        (
            Self::Completed,
            "completed complete ended done answered success successful succeeded finished closed hangup terminated \
             disconnected normalclearing callended callcompleted transferred",
        ),
        (
            Self::Failed,
            "failed failure error errored congestion chanunavail unavailable unreachable rejected declined invalid \
             invalidnumber notfound blocked forbidden crashed aborted expired",
        ),
        (
            Self::NoAnswer,
            "noanswer unanswered notanswered missed missedcall noresponse nouserresponse ringnoanswer timeout timedout \
             ringtimeout donotdisturb",
        ),
        (Self::Busy, "busy userbusy linebusy busyline"),
        (
            Self::Canceled,
            "canceled cancelled cancel originatorcancel callercancel hangupbeforeanswer abandoned abandon calleraborted",
        ),
        (
            Self::Voicemail,
            "voicemail voicemailreached voicemaildetected leftvoicemail machine machinedetected answeringmachine",
        ),
    ];
}

/// No known word has more letters.
const MAX_LETTERS: usize = 64;

/// A word as statuses are compared: without case, separators and white space. Hostile words are long.
fn letters(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace());
    letters.take(MAX_LETTERS + 1).flat_map(char::to_lowercase).collect()
}

impl CallStatus {
    /// Whether the status is no word: it is as absent as no status.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.as_str().trim().is_empty()
    }

    /// What the status says about the result of the call, compared without case and separators: `ENDED` is completed.
    ///
    /// ```
    /// use callhistory_model::{CallOutcome, CallStatus};
    ///
    /// assert_eq!(CallStatus::from("IN_PROGRESS").outcome(), CallOutcome::Live);
    /// assert_eq!(CallStatus::from("cancelled").is_final(), Some(true));
    /// assert_eq!(CallStatus::from("on the moon").is_final(), None);
    /// ```
    #[must_use]
    pub fn outcome(&self) -> CallOutcome {
        self.find().map_or(CallOutcome::Unknown, |(outcome, _)| outcome)
    }

    /// Whether the status is final: the call has ended. `None` for a word that this version does not know.
    #[must_use]
    pub fn is_final(&self) -> Option<bool> {
        match self.outcome() {
            CallOutcome::Unknown => None,
            outcome => Some(outcome != CallOutcome::Live),
        }
    }

    /// How far a call with this status has come: a merge keeps the status that is further. An unknown word is further than a live
    /// one; of two final ones the more specific is further.
    pub(crate) fn progress(&self) -> usize {
        const UNKNOWN: usize = 10;
        match self.find() {
            None if self.is_blank() => 0,
            None => UNKNOWN,
            Some((CallOutcome::Live, group)) => group + 1,
            Some((CallOutcome::Failed, _)) => UNKNOWN + 1,
            Some((CallOutcome::Canceled, _)) => UNKNOWN + 2,
            Some((CallOutcome::NoAnswer, _)) => UNKNOWN + 3,
            Some((CallOutcome::Busy, _)) => UNKNOWN + 4,
            Some((CallOutcome::Completed, _)) => UNKNOWN + 5,
            Some(_) => UNKNOWN + 6,
        }
    }

    /// The outcome of the status, and the group of its word among the words of the outcome.
    fn find(&self) -> Option<(CallOutcome, usize)> {
        let word = letters(self.as_str());
        CallOutcome::SYNONYMS.iter().find_map(|(outcome, words)| {
            let group = words.split('|').position(|group| group.split_whitespace().any(|known| known == word))?;
            Some((outcome.clone(), group))
        })
    }
}
