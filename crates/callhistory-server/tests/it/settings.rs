//! Settings from flags, variables and a file.

use std::path::Path;

use callhistory_client::CallInput;
use tempfile::TempDir;

use crate::binary::{Running, command, output_of};

/// Runs the program to its end; returns whether it succeeded, its output and its error output.
fn run(directory: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (bool, String, String) {
    let child = command(directory).envs(variables.iter().copied()).args(arguments).spawn().unwrap();
    let (code, printed, errors) = output_of(child);
    (code == 0, printed, errors)
}

#[test]
fn flags_override_variables_and_variables_override_the_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    std::fs::write(
        path.join("a.toml"),
        "listen = \"127.0.0.1:1001\"\nlog = \"warn\"\nrequire_keys = true\nrequests_per_second = 7\n\
         database_url = \"postgres://user:hunter2@db.example/calls\"\n",
    )
    .unwrap();
    let file = ("CALLHISTORY_CONFIG", "a.toml");
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (good, printed, errors) = run(path, &[], &["config", "print"]);
    assert!(good, "{errors}");
    assert_eq!(line(&printed, "listen"), "listen = \"127.0.0.1:8080\" # default");
    assert_eq!(line(&printed, "require_keys"), "require_keys = false # default");
    let (_, printed, _) = run(path, &[file], &["config", "print"]);
    assert_eq!(line(&printed, "listen"), "listen = \"127.0.0.1:1001\" # a.toml");
    assert_eq!(line(&printed, "require_keys"), "require_keys = true # a.toml");
    assert_eq!(line(&printed, "requests_per_second"), "requests_per_second = 7 # a.toml");
    assert!(printed.contains("db.example") && !printed.contains("hunter2"), "{printed}");
    let variables = [file, ("CALLHISTORY_LISTEN", "127.0.0.1:1002"), ("CALLHISTORY_REQUIRE_KEYS", "false")];
    let without_rates = [&variables[..], &[("CALLHISTORY_REQUESTS_PER_SECOND", "8")]].concat();
    let (good, _, errors) = run(path, &without_rates, &["config", "print"]);
    assert!(!good && errors.contains("--require-keys"), "{errors}");
    let (_, printed, _) = run(path, &variables[..2], &["config", "print", "--log", "error"]);
    assert_eq!(line(&printed, "listen"), "listen = \"127.0.0.1:1002\" # CALLHISTORY_LISTEN");
    assert_eq!(line(&printed, "log"), "log = \"error\" # --log");
    // The output is a valid settings file with the same values.
    let own = printed.replace("postgres://user@db.example/calls", "postgres://db.example/calls");
    std::fs::write(
        path.join("b.toml"),
        own.lines().filter(|line| !line.starts_with("config ")).collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let (good, again, errors) = run(path, &[], &["config", "print", "--config", "b.toml"]);
    assert!(good && again.contains("b.toml"), "{errors}");
    assert_eq!(line(&again, "log"), "log = \"error\" # b.toml");
}

#[test]
fn invalid_settings_are_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let cases = [
        ("listn = \"127.0.0.1:1\"", "there is no setting \"listn\"; did you mean listen?"),
        ("colour = 1", "use one of listen, operations_listen, data_dir"),
        ("[server]\nlisten = \"127.0.0.1:1\"", "there is no setting \"server\""),
        ("listen = 1\nlisten = 2", "a.toml:"),
        ("listen = [1]", "listen is not a string"),
        ("listen = \"nonsense\"", "a.toml: error: invalid value 'nonsense'"),
        ("requests_per_second = 0\nrequire_keys = true", "a.toml: error: invalid value '0'"),
        ("tls_cert = \"a\"", "belong together"),
        ("data_dir = \"a\"\ndatabase_url_file = \"b\"", "set one of them"),
        ("database_url_file = \"missing\"", "missing: No such file"),
        ("tls_cert = \"missing\"\ntls_key = \"missing\"", "missing: No such file"),
        ("listen = \"0.0.0.0:1\"", "without keys"),
        ("console = \"maybe\"", "a.toml: error: invalid value 'maybe'"),
        ("recording_hosts = \"https://a.example\"", "is not a host; write names without a scheme"),
        ("recording_hosts = \"a.example, *\"", "\"*\" is not a host"),
        ("recording_hosts = \"a.example 'unsafe-inline'\"", "is not a host"),
        ("recording_hosts = \"a.example:0\"", "is not a host"),
        ("recording_hosts = \"a..example\"", "is not a host"),
        ("log = \"loud\"", "\"loud\" is not a level"),
        ("cors_origins = \"*\"", "name each origin"),
        ("cors_origins = \"https://a,b.example\"", "\"b.example\" is not the origin of a web page: it has no scheme"),
        ("cors_origins = \"https://a.example/\"", "an origin has no path"),
        ("cors_origins = \"https://*.a.example\"", "no wildcard"),
        ("cors_origins = \"null\"", "it has no scheme"),
        ("cors_origins = \"https://a:b\"", "its host is not valid"),
        ("cors_origins = \"\"", "\"\" is not the origin"),
        ("public_url = \"calls.example.com\"", "https://calls.example.com"),
        ("public_url = \"ftp://calls.example.com\"", "is neither http nor https"),
        ("public_url = \"https://calls.example.com/?a=b\"", "has a query"),
        ("public_url = \"https://u:p@calls.example.com\"", "has a query, a fragment, a user"),
        ("config = \"b.toml\"", "there is no setting \"config\""),
        ("database_url = \"postgres://u:hunter2@h/d", "a.toml:1: "),
    ];
    for (text, expected) in cases {
        std::fs::write(path.join("a.toml"), text).unwrap();
        let (good, _, errors) = run(path, &[], &["config", "check", "--config", "a.toml"]);
        assert!(!good && errors.contains(expected) && !errors.contains("hunter2"), "{text}: {errors}");
    }
    let (good, _, errors) = run(path, &[("CALLHISTORY_LISTN", "x")], &["config", "check"]);
    assert!(!good && errors.contains("did you mean CALLHISTORY_LISTEN?"), "{errors}");
    let (good, _, errors) = run(path, &[], &["config", "check", "--config", "none.toml"]);
    assert!(!good && errors.contains("none.toml: No such file"), "{errors}");
    std::fs::write(path.join("url"), "postgres://u:hunter2@h/d\n").unwrap();
    let (good, printed, errors) = run(path, &[("CALLHISTORY_DATABASE_URL_FILE", "url")], &["config", "check"]);
    assert!(good && printed.contains("valid: postgres://u") && !printed.contains("hunter2"), "{printed}{errors}");
    assert!(!path.join("callhistory-data").exists(), "a check created files");
}

/// Each line of the printed example can be used.
#[test]
fn the_example_names_every_setting() {
    let directory = TempDir::new().unwrap();
    let (good, example, _) = run(directory.path(), &[], &["config", "example"]);
    assert!(good);
    let (_, printed, _) = run(directory.path(), &[], &["config", "print"]);
    let names: Vec<_> = printed
        .lines()
        .map(|line| line.trim_start_matches("# ").split(' ').next().unwrap())
        .filter(|name| *name != "config")
        .collect();
    assert!(names.len() >= 10);
    for name in names {
        let line = example.lines().find(|line| line.starts_with(&format!("# {name} = ")));
        let line = line.unwrap_or_else(|| panic!("the example has no {name}")).trim_start_matches("# ");
        std::fs::write(directory.path().join("one.toml"), line).unwrap();
        let (good, printed, errors) = run(directory.path(), &[], &["config", "print", "--config", "one.toml"]);
        let refused = ["belong together", "set --require-keys"].iter().any(|reason| errors.contains(reason));
        assert!(refused || (good && printed.contains(" # one.toml")), "{line}: {errors}");
    }
}

/// docs/configuration.md holds the printed example.
#[test]
fn the_configuration_page_holds_the_example() {
    let (_, example, _) = run(TempDir::new().unwrap().path(), &[], &["config", "example"]);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md")).unwrap();
    assert!(page.contains(&format!("```toml\n{example}```\n")), "docs/configuration.md must hold:\n{example}");
}

#[test]
fn settings_come_from_flags_or_variables() {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite:{}", directory.path().join("here.db").display());
    drop(Running::start(directory.path(), &["--database-url", &url]));
    assert!(directory.path().join("here.db").exists() && !directory.path().join("callhistory-data").exists());
    let mut command = command(directory.path());
    command.env("CALLHISTORY_LISTEN", "127.0.0.1:0").env("CALLHISTORY_DATA_DIR", "from-variable");
    let server = Running::spawn(&mut command);
    assert!(server.welcome.contains("from-variable/callhistory.db"), "{}", server.welcome);
}

#[tokio::test]
async fn the_size_of_records_is_a_setting() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--max-record-bytes", "65536"]);
    let client = server.client("w");
    let input = |bytes: usize| CallInput { summary: Some("x".repeat(bytes)), ..CallInput::default() };
    assert_eq!(client.replace_call("c", &input(65_000)).await.unwrap().warnings, []);
    let stored = client.replace_call("d", &input(65_500)).await.unwrap_err();
    assert_eq!((stored.status(), stored.problem().unwrap().errors[0].code.as_str()), (Some(422), "too_many_bytes"));
    let body = client.replace_call("e", &input(66_000)).await.unwrap_err();
    assert_eq!(body.status(), Some(413));
    assert!(body.problem().unwrap().detail.contains("65536 bytes"), "{body:?}");
    for size in ["65535", "67108865", "1MiB", "-1"] {
        let (good, _, errors) = run(directory.path(), &[("CALLHISTORY_MAX_RECORD_BYTES", size)], &["config", "check"]);
        assert!(!good && errors.contains(size), "{errors}");
    }
}
