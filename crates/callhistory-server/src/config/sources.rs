//! Where each setting comes from: its default, the file, its variable, or its flag, each over the one before.

use std::{ffi::OsString, path::Path};

use callhistory_model::nearest_name;
use callhistory_store::DatabaseUrl;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, parser::ValueSource};
use toml::{Table, Value};

use super::cli::Cli;

/// What is not written into a file: the file's own name.
const NOT_IN_FILES: &[&str] = &["config"];
/// Settings that may hold a password.
const SECRETS: &[&str] = &["database_url"];

/// The settings of one start, and where each was said.
pub struct SettingSources {
    /// What to do, and how.
    pub cli: Cli,
    matches: ArgMatches,
    file: Option<(String, Table)>,
}

/// Why there are no settings.
pub enum ConfigError {
    /// What the reader of flags says, help and version included.
    Flags(clap::Error),
    /// What is wrong with the file, a variable, or the settings together.
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
    /// Says what is wrong, where, and what there is instead.
    pub fn load(arguments: impl Iterator<Item = OsString>, variables: &[OsString]) -> Result<Self, ConfigError> {
        let arguments: Vec<_> = arguments.collect();
        check_variables(variables)?;
        let mut command = Cli::command();
        let plain = command.try_get_matches_from_mut(&arguments).map_err(ConfigError::Flags)?;
        let file = plain.get_one::<std::path::PathBuf>("config").map(|path| read(path)).transpose()?;
        let mut command = Cli::command();
        for (name, value) in file.iter().flat_map(|(_, table)| table) {
            let text =
                text(value).ok_or_else(|| format!("{name} is neither a text, nor a number, nor true or false"))?;
            command = command.mut_arg(name, |setting| setting.default_value(text));
        }
        let matches = command.try_get_matches_from_mut(&arguments).map_err(|error| match &file {
            // It was fine without the file.
            Some((path, _)) => ConfigError::Settings(format!("{path}: {error}")),
            None => ConfigError::Flags(error),
        })?;
        let cli = Cli::from_arg_matches(&matches).map_err(ConfigError::Flags)?;
        cli.check()?;
        Ok(Self { cli, matches, file })
    }

    /// The settings that are not the default, each with where it was said.
    #[must_use]
    pub fn changed(&self) -> Vec<String> {
        let said = |setting: Arg| Some(format!("{} ({})", setting.get_id(), self.origin(&setting)?));
        settings().filter_map(said).collect()
    }

    /// Where a setting was said; `None` where it is the default.
    fn origin(&self, setting: &Arg) -> Option<String> {
        let name = setting.get_id().as_str();
        let in_file = self.file.as_ref().filter(|(_, table)| table.contains_key(name));
        match self.matches.value_source(name) {
            Some(ValueSource::CommandLine) => Some(format!("--{}", name.replace('_', "-"))),
            Some(ValueSource::EnvVariable) => setting.get_env().map(|name| name.to_string_lossy().into_owned()),
            _ => in_file.map(|(path, _)| path.clone()),
        }
    }

    /// Each setting with its value and its origin, as a file that says the same; secrets are left out of it.
    #[must_use]
    pub fn print(&self) -> String {
        let mut lines = Vec::new();
        for setting in settings() {
            let name = setting.get_id().as_str();
            let value = self.matches.get_raw(name).and_then(|mut values| values.next()?.to_str().map(str::to_owned));
            let origin = self.origin(&setting).unwrap_or_else(|| "default".to_owned());
            // A flag that was not given has no value of its own.
            let unset =
                if matches!(setting.get_action(), ArgAction::SetTrue) { Some("false".to_owned()) } else { None };
            lines.push(match value.or(unset) {
                Some(value) => (format!("{name} = {}", literal(&setting, &masked(name, &value))), origin),
                None => (format!("# {name} is not set"), String::new()),
            });
        }
        let width =
            lines.iter().filter(|(_, origin)| !origin.is_empty()).map(|(line, _)| line.len()).max().unwrap_or(0);
        lines.iter().fold(String::new(), |mut text, (line, origin)| {
            let line = if origin.is_empty() { line.clone() } else { format!("{line:width$}  # {origin}") };
            text.push_str(&line);
            text.push('\n');
            text
        })
    }
}

/// A file with every setting, what it is for, and its default.
#[must_use]
pub fn example() -> String {
    let mut text = "# The settings of callhistory-server, each with its default or an example. A CALLHISTORY_* variable overrides\n\
                    # this file, and a flag overrides both.\n"
        .to_owned();
    for setting in settings().filter(|setting| !NOT_IN_FILES.contains(&setting.get_id().as_str())) {
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        let value = setting.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let name = setting.get_id().as_str();
        let value = value.unwrap_or_else(|| sample(name).to_owned());
        text.push_str(&format!("\n# {help}\n# {name} = {}\n", literal(&setting, &value)));
    }
    text
}

/// A value for a setting that has no default.
fn sample(name: &str) -> &'static str {
    match name {
        "data_dir" => "/var/lib/callhistory",
        "database_url" => "postgres://callhistory@localhost/callhistory",
        "database_url_file" => "/run/secrets/database-url",
        "tls_cert" => "/etc/callhistory/cert.pem",
        "tls_key" => "/etc/callhistory/key.pem",
        "operations_listen" => "127.0.0.1:9464",
        "requests_per_second" => "1000",
        "records_per_second" => "100000",
        _ => "false",
    }
}

fn settings() -> impl Iterator<Item = Arg> {
    let settings: Vec<_> = Cli::command().get_arguments().cloned().collect();
    settings.into_iter().filter(|setting| setting.get_env().is_some())
}

/// The value as TOML writes it: a text in quotes, anything else bare.
fn literal(setting: &Arg, value: &str) -> String {
    let is_flag = matches!(setting.get_action(), ArgAction::SetTrue);
    let is_number = value.parse::<u64>().is_ok();
    if is_flag || is_number { value.to_owned() } else { Value::String(value.to_owned()).to_string() }
}

fn masked(name: &str, value: &str) -> String {
    // An invalid URL can contain a password as well.
    let redact = |url: &str| url.parse::<DatabaseUrl>().map_or_else(|_| "***".to_owned(), |url| url.to_string());
    if SECRETS.contains(&name) { redact(value) } else { value.to_owned() }
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
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
    // The library's message quotes the line, which may hold a password.
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
        format!("{place}:{line}: {}", error.message())
    })?;
    let names: Vec<String> = settings().map(|setting| setting.get_id().to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !NOT_IN_FILES.contains(name)).collect();
    match table.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(format!("{place}: there is no setting {key:?}{}", nearest(key, &names))),
        None => Ok((place, table)),
    }
}

/// Refuses a `CALLHISTORY_*` variable that no setting reads: a misspelt one would be ignored without a word.
fn check_variables(variables: &[OsString]) -> Result<(), String> {
    let known: Vec<String> = settings().filter_map(|setting| setting.get_env()?.to_str().map(str::to_owned)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for name in variables.iter().filter_map(|name| name.to_str()).filter(|name| name.starts_with("CALLHISTORY_")) {
        if !known.contains(&name) {
            return Err(format!("no setting reads the variable {name}{}", nearest(name, &known)));
        }
    }
    Ok(())
}

/// What was probably meant, or else what there is.
fn nearest(name: &str, known: &[&str]) -> String {
    match nearest_name(name, known.iter().copied()) {
        Some(closest) => format!("; did you mean {closest}?"),
        None => format!("; there are {}", known.join(", ")),
    }
}
