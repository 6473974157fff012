// What the words of a status mean, as docs/data-model.md has them; a test compares the two.

/** @type {Record<string, string>} */
export const STATUS_WORDS = {
  live: "scheduled created new pending registered queued inqueue waiting initiated initiating started starting dialing calling trying routing forwarding ringing alerting early preanswer ongoing active inprogress connected connecting answering talking speaking bridged held onhold hold processing transferring live up",
  completed: "completed complete ended done answered success successful succeeded finished closed hangup terminated disconnected normalclearing callended callcompleted transferred",
  failed: "failed failure error errored congestion chanunavail unavailable unreachable rejected declined invalid invalidnumber notfound blocked forbidden crashed aborted expired",
  "no-answer": "noanswer unanswered notanswered missed missedcall noresponse nouserresponse ringnoanswer timeout timedout ringtimeout donotdisturb",
  busy: "busy userbusy linebusy busyline",
  canceled: "canceled cancelled cancel originatorcancel callercancel hangupbeforeanswer abandoned abandon calleraborted",
  voicemail: "voicemail voicemailreached voicemaildetected leftvoicemail machine machinedetected answeringmachine",
};

/** The outcomes, in the order in which charts stack them. */
export const OUTCOMES = ["completed", "voicemail", "no-answer", "busy", "canceled", "failed", "live", "unknown"];

/** @type {Map<string, string>} */
const BY_WORD = new Map(
  Object.entries(STATUS_WORDS).flatMap(([outcome, words]) => words.split(" ").map((word) => [word, outcome])),
);

/**
 * The outcome of a status, compared without case and separators.
 * @param {string | undefined | null} status
 * @returns {string}
 */
export function outcomeOf(status) {
  const word = (status ?? "").replace(/[_\-\s]/gu, "").toLowerCase();
  return BY_WORD.get(word) ?? "unknown";
}
