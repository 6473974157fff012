//! The hosts whose recordings the console plays: a page that could load media from anywhere could also tell anyone what it shows.

use std::str::FromStr;

/// Host names, each maybe with a port and with `*.` in front for every name below.
#[derive(Clone, Debug, Default)]
pub struct RecordingHosts(Vec<String>);

impl FromStr for RecordingHosts {
    type Err = String;

    /// Parses hosts that are separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let hosts: Vec<_> = text.split(',').map(|host| host.trim().to_ascii_lowercase()).collect();
        match hosts.iter().find(|host| !is_host(host)) {
            Some(host) => Err(format!(
                "{host:?} is not a host; write names without a scheme or a path: recordings.example.com,*.example.org"
            )),
            None => Ok(Self(hosts)),
        }
    }
}

impl RecordingHosts {
    /// The hosts in lower case.
    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }
}

/// Whether a text is a host of the setting. Nothing else may get into the policy of the page.
fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let name = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
    };
    name.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}
