//! The sources of settings: a flag overrides a variable, a variable the file, and the file the default.

use std::{ffi::OsString, path::Path};

use callhistory_model::nearest_name;
use callhistory_store::DatabaseUrl;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, parser::ValueSource};
use toml::{Table, Value};

use super::cli::Cli;

/// Settings that a file cannot have: its own name.
const NOT_IN_FILES: &[&str] = &["config"];
/// Settings that may hold a password.
const SECRETS: &[&str] = &["database_url"];

/// The settings of one start, and the source of each.
pub struct SettingSources {
    /// The command and its settings.
    pub cli: Cli,
    matches: ArgMatches,
    file: Option<(String, Table)>,
}

/// Why there are no settings.
pub enum ConfigError {
    /// An invalid flag, or a request for help or the version.
    Flags(clap::Error),
    /// An invalid file, variable, or combination of settings.
    Settings(String),
}

impl From<String> for ConfigError {
    fn from(reason: String) -> Self {
        Self::Settings(reason)
    }
}

impl SettingSources {
    /// Reads flags, variables and the file that they name.
    ///
    /// # Errors
    ///
    /// Says what is wrong, where, and what to do.
    pub fn load(arguments: impl Iterator<Item = OsString>, variables: &[OsString]) -> Result<Self, ConfigError> {
        let arguments: Vec<_> = arguments.collect();
        check_variables(variables)?;
        let mut command = Cli::command();
        let plain = command.try_get_matches_from_mut(&arguments).map_err(ConfigError::Flags)?;
        let file = plain.get_one::<std::path::PathBuf>("config").map(|path| read(path)).transpose()?;
        let mut command = Cli::command();
        for (name, value) in file.iter().flat_map(|(_, table)| table) {
            let text = text(value).ok_or_else(|| format!("{name} is not a string, an integer, true or false"))?;
            command = command.mut_arg(name, |setting| setting.default_value(text));
        }
        let matches = command.try_get_matches_from_mut(&arguments).map_err(|error| match &file {
            // The same arguments were valid without the file.
            Some((path, _)) => ConfigError::Settings(format!("{path}: {error}")),
            None => ConfigError::Flags(error),
        })?;
        let cli = Cli::from_arg_matches(&matches).map_err(ConfigError::Flags)?;
        cli.check()?;
        Ok(Self { cli, matches, file })
    }

    /// The settings that are not the default, each with its source.
    #[must_use]
    pub fn changed(&self) -> Vec<String> {
        let describe = |setting: Arg| Some(format!("{} ({})", setting.get_id(), self.source(&setting)?));
        settings().filter_map(describe).collect()
    }

    /// The flag, variable or file that sets a setting; `None` for a default.
    fn source(&self, setting: &Arg) -> Option<String> {
        let name = setting.get_id().as_str();
        let in_file = self.file.as_ref().filter(|(_, table)| table.contains_key(name));
        match self.matches.value_source(name) {
            Some(ValueSource::CommandLine) => Some(format!("--{}", name.replace('_', "-"))),
            Some(ValueSource::EnvVariable) => setting.get_env().map(|name| name.to_string_lossy().into_owned()),
            _ => in_file.map(|(path, _)| path.clone()),
        }
    }

    /// A file with the same settings, each with its source; passwords are left out.
    #[must_use]
    pub fn print(&self) -> String {
        let mut lines = Vec::new();
        for setting in settings() {
            let name = setting.get_id().as_str();
            let value = self.matches.get_raw(name).and_then(|mut values| values.next()?.to_str().map(str::to_owned));
            let source = self.source(&setting).unwrap_or_else(|| "default".to_owned());
            // A flag that is not set has no value.
            let unset = is_flag(&setting).then(|| "false".to_owned());
            lines.push(match value.or(unset) {
                Some(value) => (format!("{name} = {}", to_toml(&setting, &redact(name, &value))), Some(source)),
                None => (format!("# {name} is not set"), None),
            });
        }
        let width = lines.iter().filter(|(_, source)| source.is_some()).map(|(line, _)| line.len()).max().unwrap_or(0);
        let print = |(line, source): &(String, Option<String>)| match source {
            Some(source) => format!("{line:width$}  # {source}\n"),
            None => format!("{line}\n"),
        };
        lines.iter().map(print).collect()
    }
}

/// A file with every setting, its description, and its default or an example.
#[must_use]
pub fn example() -> String {
    let mut text = "# The settings of callhistory-server, each with its default or an example. A CALLHISTORY_* variable overrides\n\
                    # this file, and a flag overrides both.\n"
        .to_owned();
    for setting in settings().filter(|setting| !NOT_IN_FILES.contains(&setting.get_id().as_str())) {
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        let value = setting.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let name = setting.get_id().as_str();
        let value = value.unwrap_or_else(|| example_value(name).to_owned());
        text.push_str(&format!("\n# {help}\n# {name} = {}\n", to_toml(&setting, &value)));
    }
    text
}

/// An example for a setting without a default.
fn example_value(name: &str) -> &'static str {
    match name {
        "data_dir" => "/var/lib/callhistory",
        "database_url" => "postgres://callhistory@localhost/callhistory",
        "database_url_file" => "/run/secrets/database-url",
        "tls_cert" => "/etc/callhistory/cert.pem",
        "tls_key" => "/etc/callhistory/key.pem",
        "operations_listen" => "127.0.0.1:9464",
        "requests_per_second" => "1000",
        "allowed_hosts" => "calls.example.com",
        "cors_origins" => "https://app.example.com,http://localhost:5173",
        "public_url" => "https://calls.example.com",
        "recording_hosts" => "recordings.example.com",
        "default_country" => "DE",
        "records_per_second" => "100000",
        _ => "false",
    }
}

fn settings() -> impl Iterator<Item = Arg> {
    let settings: Vec<_> = Cli::command().get_arguments().cloned().collect();
    settings.into_iter().filter(|setting| setting.get_env().is_some())
}

fn is_flag(setting: &Arg) -> bool {
    matches!(setting.get_action(), ArgAction::SetTrue)
}

/// The value as TOML: strings in quotes, flags and integers without.
fn to_toml(setting: &Arg, value: &str) -> String {
    if is_flag(setting) || value.parse::<bool>().is_ok() || value.parse::<u64>().is_ok() {
        value.to_owned()
    } else {
        Value::String(value.to_owned()).to_string()
    }
}

fn redact(name: &str, value: &str) -> String {
    if !SECRETS.contains(&name) {
        return value.to_owned();
    }
    // An invalid URL can contain a password, too.
    value.parse::<DatabaseUrl>().map_or_else(|_| "***".to_owned(), |url| url.to_string())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn read(path: &Path) -> Result<(String, Table), String> {
    let path_text = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path_text}: {error}"))?;
    // The full message of the library quotes the line, which may have a password.
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
        format!("{path_text}:{line}: {}", error.message())
    })?;
    let names: Vec<String> = settings().map(|setting| setting.get_id().to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !NOT_IN_FILES.contains(name)).collect();
    match table.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(format!("{path_text}: there is no setting {key:?}{}", suggestion(key, &names))),
        None => Ok((path_text, table)),
    }
}

/// Rejects a `CALLHISTORY_*` variable that no setting reads, because a misspelt one would be ignored silently.
fn check_variables(variables: &[OsString]) -> Result<(), String> {
    let known: Vec<String> = settings().filter_map(|setting| setting.get_env()?.to_str().map(str::to_owned)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for name in variables.iter().filter_map(|name| name.to_str()).filter(|name| name.starts_with("CALLHISTORY_")) {
        if !known.contains(&name) {
            return Err(format!("no setting reads the variable {name}{}", suggestion(name, &known)));
        }
    }
    Ok(())
}

/// The name that was probably meant, or else all names.
fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest_name(name, known.iter().copied()) {
        Some(closest) => format!("; did you mean {closest}?"),
        None => format!("; use one of {}", known.join(", ")),
    }
}
