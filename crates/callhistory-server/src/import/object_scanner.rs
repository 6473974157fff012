//! Follows the structure of one JSON object byte by byte, without a tree: where it ends, and whether it is a record or only wraps
//! a list of records.

use callhistory_model::CallInput;

/// Members that hold the list of a page, in lower case without separators.
const LIST_NAMES: [&[u8]; 27] = [
    b"callhistories",
    b"callhistory",
    b"calllist",
    b"calllogs",
    b"callrecords",
    b"calls",
    b"callsummaries",
    b"cdrs",
    b"chats",
    b"chatspage",
    b"content",
    b"conversations",
    b"data",
    b"entries",
    b"history",
    b"items",
    b"list",
    b"logs",
    b"meetings",
    b"objects",
    b"records",
    b"result",
    b"results",
    b"rows",
    b"sessions",
    b"summaries",
    b"value",
];
/// Members that hold an object with the list of a page.
const ENVELOPE_NAMES: [&[u8]; 7] = [b"body", b"data", b"embedded", b"payload", b"response", b"result", b"results"];
/// Members that a record has and a page has not, apart from the IDs of calls.
const RECORD_NAMES: [&[u8]; 5] = [b"callid", b"fromphonenumber", b"roomname", b"tophonenumber", b"transcript"];
/// Longer names are none of these.
const MAX_KEY_BYTES: usize = 24;
/// Containers beyond this depth are counted as arrays: no parser accepts them.
const MAX_OPEN: usize = 4096;

/// What a byte does to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanStep {
    /// The object goes on.
    Inside,
    /// The byte opens an array that may be the list of a page.
    ListOpens,
    /// The byte opens the first item of such a list, an object.
    FirstItem,
    /// The byte ends the object.
    End,
}

/// The state of an object after some of its bytes.
#[derive(Clone)]
pub(super) struct ObjectScanner {
    /// The open containers; `true` for an array.
    open: Vec<bool>,
    /// The number of open containers beyond those.
    deeper: usize,
    is_escaped: bool,
    in_string: bool,
    /// The last byte outside of strings and white space; a quotation mark after a string.
    previous: u8,
    /// The last member name of the upper levels, in lower case without separators.
    key: Vec<u8>,
    in_key: bool,
    /// Whether the open member of the object is one that may hold an object with the list.
    in_envelope: bool,
    /// Whether the last array may be a list, if its first item is an object.
    is_list_open: bool,
    /// Whether the object has a member of a record.
    has_record_member: bool,
    has_empty_list: bool,
}

impl ObjectScanner {
    /// An object after its opening brace.
    pub(super) fn new() -> Self {
        Self {
            open: vec![false],
            deeper: 0,
            is_escaped: false,
            in_string: false,
            previous: b'{',
            key: Vec::new(),
            in_key: false,
            in_envelope: false,
            is_list_open: false,
            has_record_member: false,
            has_empty_list: false,
        }
    }

    /// Whether the next bytes are the text of a string, which has no meaning here up to its end.
    pub(super) fn in_text(&self) -> bool {
        self.in_string && !self.is_escaped && !self.in_key
    }

    /// Whether an object may begin here.
    pub(super) fn expects_value(&self) -> bool {
        let in_array = self.deeper > 0 || self.open.last() == Some(&true);
        !self.in_string && (matches!(self.previous, b':' | b'[') || (self.previous == b',' && in_array))
    }

    /// Whether the object so far has a member that a record has and a page has not.
    pub(super) fn has_record_member(&self) -> bool {
        self.has_record_member
    }

    /// Whether the object is a page with an empty list.
    pub(super) fn is_empty_page(&self) -> bool {
        self.has_empty_list && !self.has_record_member
    }

    /// Processes a byte.
    pub(super) fn step(&mut self, byte: u8) -> ScanStep {
        if self.in_string {
            self.step_in_string(byte);
            return ScanStep::Inside;
        }
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return ScanStep::Inside;
        }
        let in_list = std::mem::take(&mut self.is_list_open);
        let step = match byte {
            b'"' => {
                self.open_string();
                ScanStep::Inside
            }
            b'{' | b'[' => self.open_container(byte == b'['),
            b'}' | b']' => self.close_container(),
            _ => ScanStep::Inside,
        };
        self.previous = byte;
        match byte {
            b'{' if in_list => return ScanStep::FirstItem,
            b']' if in_list => self.has_empty_list = true,
            // The nulls in a list.
            b'n' | b'u' | b'l' | b',' if in_list => self.is_list_open = true,
            _ => {}
        }
        step
    }

    /// Goes back before the first item of a list, which is not a part of the object then.
    pub(super) fn leave_item(&mut self) {
        self.close_container();
        self.previous = b'[';
    }

    fn step_in_string(&mut self, byte: u8) {
        if std::mem::take(&mut self.is_escaped) {
        } else if byte == b'\\' {
            self.is_escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
            if std::mem::take(&mut self.in_key) && self.is_page_level() && is_record_name(&self.key) {
                self.has_record_member = true;
            }
            return;
        }
        if self.in_key && byte.is_ascii_alphanumeric() && self.key.len() <= MAX_KEY_BYTES {
            self.key.push(byte.to_ascii_lowercase());
        }
    }

    fn open_string(&mut self) {
        self.in_string = true;
        self.in_key = self.open.len() <= 2 && self.open.last() == Some(&false) && matches!(self.previous, b'{' | b',');
        if self.in_key {
            self.key.clear();
        }
    }

    fn open_container(&mut self, is_array: bool) -> ScanStep {
        let is_member = self.previous == b':';
        let is_list = is_array && is_member && self.is_page_level() && LIST_NAMES.contains(&self.key.as_slice());
        if self.open.len() == 1 {
            self.in_envelope = !is_array && is_member && ENVELOPE_NAMES.contains(&self.key.as_slice());
        }
        if self.open.len() < MAX_OPEN && self.deeper == 0 {
            self.open.push(is_array);
        } else {
            self.deeper += 1;
        }
        self.is_list_open = is_list;
        if is_list { ScanStep::ListOpens } else { ScanStep::Inside }
    }

    fn close_container(&mut self) -> ScanStep {
        if self.deeper > 0 {
            self.deeper -= 1;
        } else {
            self.open.pop();
        }
        if self.open.is_empty() { ScanStep::End } else { ScanStep::Inside }
    }

    /// Whether the innermost container is one whose members may be the list of a page.
    fn is_page_level(&self) -> bool {
        match self.open.as_slice() {
            [false] => true,
            [false, false] => self.in_envelope,
            _ => false,
        }
    }
}

/// Whether a record has a member of this name, and a page has not.
fn is_record_name(key: &[u8]) -> bool {
    let is_id = |name: &&str| {
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
        letters.map(|byte| byte.to_ascii_lowercase()).eq(key.iter().copied())
    };
    RECORD_NAMES.contains(&key) || CallInput::ID_MEMBERS.iter().any(is_id)
}
