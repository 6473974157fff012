//! Clients that other tools generate from the contract: the types that they get, whether they compile, and calls with them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Failure, Step as _, Tools, files};
use crate::openapi::lint::operations;

/// The generators of openapi-generator, each with files of its output and what they must have: types that were wrong before, with 32
/// bits, no result of an export, or no names in the filter of metadata.
const GENERATORS: [(&str, &[(&str, &str)]); 7] = [
    (
        "java",
        &[
            ("model/CallChange.java", "private Long version;"),
            ("model/CallRecord.java", "private Double startTime;"),
            ("model/CallCost.java", "private Double customerCharge;"),
            ("api/ImportAndExportApi.java", "public File exportCalls("),
            ("api/CallsApi.java", "org.openapitools.client.MetadataFilter metadata"),
        ],
    ),
    (
        "typescript-fetch",
        &[
            ("apis/CallsApi.ts", "metadata?: { [key: string]: string; }"),
            ("apis/ImportAndExportApi.ts", "exportCalls(requestParameters: ExportCallsRequest"),
            ("apis/ImportAndExportApi.ts", "Promise<runtime.HttpFile>"),
        ],
    ),
    (
        "go",
        &[
            ("model_call_change.go", "Version int64"),
            ("model_call_record.go", "StartTime *float64"),
            ("model_call_cost.go", "CustomerCharge *float64"),
            ("api_import_and_export.go", "func (r ApiExportCallsRequest) Execute() (*os.File, "),
            ("api_calls.go", "Metadata(metadata map[string]string)"),
        ],
    ),
    ("python", &[("api/import_and_export_api.py", ") -> bytes:"), ("models/call_change.py", "version: Annotated[int")]),
    (
        "csharp",
        &[
            ("Model/CallChange.cs", "public long VarVersion"),
            ("Model/CallRecord.cs", "public double? StartTime"),
            (
                "Api/ImportAndExportApi.cs",
                "interface IExportCallsApiResponse : Org.OpenAPITools.Client.IApiResponse, IOk<System.IO.Stream?>",
            ),
            ("Api/CallsApi.cs", "Dictionary<string, string>> metadata"),
        ],
    ),
    (
        "kotlin",
        &[
            ("models/CallChange.kt", "val version: kotlin.Long"),
            ("models/CallRecord.kt", "val startTime: kotlin.Double?"),
            ("apis/ImportAndExportApi.kt", ": java.io.File {"),
            ("apis/CallsApi.kt", "metadata: kotlin.collections.Map<kotlin.String, kotlin.String>?"),
        ],
    ),
    (
        "rust",
        &[
            ("models/call_change.rs", "pub version: i64"),
            ("models/call_record.rs", "pub start_time: Option<f64>"),
            ("apis/import_and_export_api.rs", "Result<reqwest::Response, Error<ExportCallsError>>"),
            ("apis/calls_api.rs", "std::collections::HashMap<String, String>"),
        ],
    ),
];
/// How many of them a short run uses.
const SHORT_GENERATORS: usize = 3;

/// Generated code imports this annotation, which the libraries of the generator lack.
const GENERATED: &str = "package javax.annotation;
public @interface Generated { String[] value(); String date() default \"\"; String comments() default \"\"; }
";

/// Generates all clients, and compiles those of TypeScript and Java.
pub(super) fn generate(tools: &Tools, root: &Path, contract: &Path, is_short: bool) -> Result<(), Failure> {
    typescript(tools, contract)?;
    python(tools, contract)?;
    let count = if is_short { SHORT_GENERATORS } else { GENERATORS.len() };
    openapi_generator(tools, contract, count)?;
    java(tools, root)
}

/// Calls a server with the clients, and runs the samples of the contract.
pub(super) fn call(tools: &Tools, root: &Path, base: &str, is_short: bool) -> Result<(), Failure> {
    let folder = &tools.folder;
    Command::new("node").arg(folder.join("calls.js")).arg(base).show("calls of openapi-fetch")?;
    let script = |name: &str| {
        let mut python = tools.python("python3");
        python.arg(root.join("xtask/interop").join(name)).arg(base);
        python.env("PYTHONPATH", format!("{0}:{0}/python", folder.display()));
        python
    };
    script("calls.py").show("calls of openapi-python-client")?;
    samples(tools, root, base)?;
    if is_short {
        return Ok(());
    }
    compile(tools, "fetch.ts", &[])?;
    let mut java = Command::new("java");
    java.arg("-cp").arg(class_path(tools)?).args(["Calls", base]).show("calls of the Java client")?;
    Command::new("node").arg(folder.join("fetch.js")).arg(base).show("calls of typescript-fetch")?;
    script("generated.py").show("calls of the Python client of openapi-generator")
}

/// The options beyond `strict`, which not every generator meets.
const STRICTER: [&str; 2] = ["--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"];

fn compile(tools: &Tools, source: &str, stricter: &[&str]) -> Result<(), Failure> {
    let mut compile = tools.node("tsc");
    compile.args(["--strict", "--target", "es2022", "--module", "nodenext"]).args(stricter);
    compile.arg(source).current_dir(&tools.folder).step(&format!("tsc --strict {source}"))
}

fn typescript(tools: &Tools, contract: &Path) -> Result<(), Failure> {
    let types = tools.folder.join("callhistory.d.ts");
    tools.node("openapi-typescript").arg(contract).arg("--output").arg(types).step("openapi-typescript")?;
    compile(tools, "calls.ts", &STRICTER)
}

/// Compiles the samples in TypeScript, and runs those of all languages but Rust, which the tests of the server run.
fn samples(tools: &Tools, root: &Path, base: &str) -> Result<(), Failure> {
    let folder = root.join("crates/callhistory-server/samples");
    let text = fs::read_to_string(folder.join("operations.ts"))?;
    let text = text.replace("http://127.0.0.1:8080", base).replace("abcdef1234567890", "typescript-samples");
    // The ID of the record is not that of the workspace.
    fs::write(tools.folder.join("operations.ts"), text)?;
    compile(tools, "operations.ts", &STRICTER)?;
    let mut node = Command::new("node");
    node.args(["samples.mjs", base]).arg(folder).arg(tools.folder.join("venv/bin/python3")).current_dir(&tools.folder);
    node.show("samples of the contract")
}

fn python(tools: &Tools, contract: &Path) -> Result<(), Failure> {
    let output = tools.folder.join("callhistory_api");
    let mut generate = tools.python("openapi-python-client");
    generate.args(["generate", "--meta", "none", "--overwrite", "--path"]).arg(contract);
    generate.arg("--output-path").arg(&output).step("openapi-python-client")?;
    // The generator only warns of an operation that it leaves out.
    let modules = files(&output.join("api"))?;
    let document: Value = serde_json::from_str(&fs::read_to_string(contract)?)?;
    for (_, operation) in operations(&document) {
        let module = format!("{}.py", operation["operationId"].as_str().unwrap_or_default());
        if !modules.iter().any(|path| path.ends_with(&module)) {
            return Err(format!("openapi-python-client left {module} out").into());
        }
    }
    Ok(())
}

/// The generators and the libraries that the Java client needs.
fn jar(tools: &Tools) -> Result<PathBuf, Failure> {
    let mut libraries = files(&tools.folder.join("venv/lib"))?.into_iter();
    let jar = libraries.find(|path| path.ends_with("openapi-generator.jar"));
    jar.ok_or_else(|| "the jar of openapi-generator-cli is missing".into())
}

fn class_path(tools: &Tools) -> Result<String, Failure> {
    Ok(format!("{}:{}", jar(tools)?.display(), tools.folder.join("java/classes").display()))
}

/// Runs the first generators in one process, and checks the types that they made.
fn openapi_generator(tools: &Tools, contract: &Path, count: usize) -> Result<(), Failure> {
    let generators = GENERATORS.iter().take(count);
    let mut generate = Command::new("java");
    generate.arg("-jar").arg(jar(tools)?).args(["batch", "--fail-fast", "-r", "2"]);
    for (name, _) in generators.clone() {
        let output = tools.folder.join(name);
        drop(fs::remove_dir_all(&output));
        let mut settings = json!({ "generatorName": name, "inputSpec": contract, "outputDir": output });
        if *name == "java" {
            settings["library"] = "native".into();
            settings["schemaMappings"] = json!({ "MetadataFilter": "org.openapitools.client.MetadataFilter" });
            settings["additionalProperties"] =
                json!({ "openApiNullable": false, "annotationLibrary": "none", "documentationProvider": "none" });
        }
        if *name == "typescript-fetch" {
            settings["additionalProperties"] = json!({ "importFileExtension": ".js" });
        }
        let file = tools.folder.join(format!("{name}.json"));
        fs::write(&file, settings.to_string())?;
        generate.arg(file);
    }
    generate.step(&format!("openapi-generator for {count} languages"))?;
    let mut missing = Vec::new();
    for (name, types) in generators {
        let output = files(&tools.folder.join(name))?;
        for (file, expected) in *types {
            let path =
                output.iter().find(|path| path.ends_with(file)).ok_or_else(|| format!("{name} made no {file}"))?;
            if !fs::read_to_string(path)?.contains(expected) {
                missing.push(format!("{name}: {file} has no {expected}"));
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n").into()) }
}

fn java(tools: &Tools, root: &Path) -> Result<(), Failure> {
    let output = tools.folder.join("java");
    let sources = output.join("src/main/java");
    fs::create_dir_all(sources.join("javax/annotation"))?;
    fs::write(sources.join("javax/annotation/Generated.java"), GENERATED)?;
    let own = root.join("xtask/interop");
    fs::copy(own.join("MetadataFilter.java"), sources.join("org/openapitools/client/MetadataFilter.java"))?;
    let mut compile = Command::new("javac");
    compile.arg("-d").arg(output.join("classes")).arg("-cp").arg(jar(tools)?).arg(own.join("Calls.java"));
    compile.args(files(&sources)?).step("javac")
}
