//! The sub-command `config`: prints, checks or explains the settings.

use super::{CommandError, print};
use crate::{
    config::{
        cli::ConfigCommand,
        sources::{self, SettingSources},
    },
    telemetry,
};

pub(super) fn run(sources: &SettingSources, command: ConfigCommand) -> Result<(), CommandError> {
    match command {
        ConfigCommand::Print => print(sources.print().trim_end()),
        ConfigCommand::Check => {
            let settings = &sources.cli.settings;
            telemetry::parse_filter(&settings.log)?;
            let (url, tls) = (settings.database_url()?, settings.tls()?);
            let tls = if tls.is_some() { ", with TLS" } else { "" };
            print(&format!("These settings are valid: {url} at {}{tls}.", settings.listen));
        }
        ConfigCommand::Example => print(sources::example().trim_end()),
    }
    Ok(())
}
