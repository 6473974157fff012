//! The sub-command `keys`: creates, lists, revokes and rotates API keys, also while a server runs.

use std::{collections::HashSet, time::Duration};

use callhistory_model::{FieldError, Timestamp, WorkspaceId};
use callhistory_store::{ApiKey, ApiKeyStore, Scope};

use super::{CommandError, Environment};
use crate::{
    auth::token::Token,
    config::cli::{KeyCommand, NewKey},
};

/// Runs a command and returns its output.
///
/// # Errors
///
/// Says what is wrong with the command, or why the store failed.
pub(super) async fn run(
    store: &dyn ApiKeyStore,
    command: &KeyCommand,
    environment: Environment,
) -> Result<String, CommandError> {
    let (now, random) = (environment.timestamp(), environment.secret);
    match command {
        KeyCommand::Create(new) => {
            let token = Token::new(&random()?);
            store.create_key(describe(&token, new, now)?, None).await?;
            Ok(token.as_str().to_owned())
        }
        KeyCommand::List => Ok(table(&store.list_keys().await?, &now)),
        KeyCommand::Revoke { id } => {
            let id = public_part(id);
            if !store.revoke_key(id, now).await? {
                return Err(not_found(id));
            }
            Ok(format!("{id} is revoked; every server refuses it within a second."))
        }
        KeyCommand::Rotate { id, overlap } => {
            let id = public_part(id);
            let old = store.find_key(id).await?.ok_or_else(|| not_found(id))?;
            if state(&old, &now) != "active" {
                return Err(format!("the key {id} has expired or is revoked; create another with `keys create`").into());
            }
            let token = Token::new(&random()?);
            let key = ApiKey {
                id: token.id().to_owned(),
                digest: token.digest(),
                created_at: now.clone(),
                revoked_at: None,
                used_at: None,
                ..old
            };
            let end = later(&now, *overlap)?;
            store.create_key(key, Some((id.to_owned(), end))).await?;
            Ok(token.as_str().to_owned())
        }
    }
}

fn not_found(id: &str) -> CommandError {
    format!("there is no key {id}; `keys list` lists all keys").into()
}

/// The public part of a key, or the text itself if it is not a whole key.
fn public_part(id: &str) -> &str {
    id.strip_prefix("ch_live_").and_then(|rest| rest.split('_').next()).unwrap_or(id)
}

fn describe(token: &Token, new: &NewKey, now: Timestamp) -> Result<ApiKey, CommandError> {
    let workspace = new.workspace.as_deref().map(str::parse::<WorkspaceId>).transpose();
    let workspace = workspace.map_err(|error: FieldError| format!("--workspace {error}"))?;
    let scopes: Vec<Scope> = new.scopes.iter().map(|text| text.parse()).collect::<Result<_, String>>()?;
    if scopes.iter().collect::<HashSet<_>>().len() < scopes.len() {
        return Err("--scopes names a scope more than once".into());
    }
    let expires_at = new.expires_in.map(|life| later(&now, life)).transpose()?;
    Ok(ApiKey {
        id: token.id().to_owned(),
        digest: token.digest(),
        name: new.name.clone(),
        workspace,
        scopes,
        created_at: now,
        expires_at,
        revoked_at: None,
        used_at: None,
    })
}

fn later(now: &Timestamp, time: Duration) -> Result<Timestamp, CommandError> {
    let nanos = i64::try_from(time.as_nanos()).ok().and_then(|nanos| now.unix_nanos().checked_add(nanos));
    nanos.map(Timestamp::from_unix_nanos).ok_or_else(|| "the time is too long".into())
}

/// The state of a key: active, expired or revoked.
pub(crate) fn state(key: &ApiKey, now: &Timestamp) -> &'static str {
    if key.is_revoked(now.unix_nanos()) {
        "revoked"
    } else if key.is_expired(now.unix_nanos()) {
        "expired"
    } else {
        "active"
    }
}

/// A table with one line for each key.
fn table(keys: &[ApiKey], now: &Timestamp) -> String {
    let time = |time: &Option<Timestamp>| time.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let header = ["ID", "STATE", "WORKSPACE", "SCOPES", "CREATED", "ENDS", "USED", "NAME"].map(str::to_owned);
    let rows = keys.iter().map(|key| {
        let ends = [&key.revoked_at, &key.expires_at].into_iter().flatten().min_by_key(|end| end.unix_nanos());
        [
            key.id.clone(),
            state(key, now).to_owned(),
            key.workspace.as_ref().map_or_else(|| "(operator)".to_owned(), ToString::to_string),
            key.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            key.created_at.to_string(),
            time(&ends.cloned()),
            time(&key.used_at),
            key.name.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
