// Packs the client, installs the package in a project of its own, compiles the programs of the README there, and checks what is in
// the package.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const project = mkdtempSync(join(tmpdir(), "callhistory-"));
const run = (cwd, program, ...args) => execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

// The type of a list of values is written by hand for each filter that takes one.
const contract = JSON.parse(readFileSync(join(root, "../../openapi/callhistory.json"), "utf8"));
const types = readFileSync(join(root, "src/types.ts"), "utf8");
for (const { name, description = "" } of Object.values(contract.components.parameters)) {
  if (description.includes("*Filter syntax*") && !types.includes(`| "${name}"`)) throw new Error(`SetName of src/types.ts lacks ${name}`);
}

try {
  const [packed] = JSON.parse(run(root, "npm", "pack", "--json", "--ignore-scripts", "--pack-destination", project));
  const files = packed.files.map(({ path }) => path);
  for (const wanted of ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist/index.js", "dist/index.d.ts", "dist/contract.d.ts"]) {
    if (!files.includes(wanted)) throw new Error(`${wanted} is not in the package`);
  }
  const odd = files.filter((path) => !/^(LICENSE-\w+|README\.md|package\.json|dist\/[\w.]+)$/.test(path));
  if (odd.length > 0) throw new Error(`${odd.join(", ")}: not for the package`);

  writeFileSync(join(project, "package.json"), '{"private":true,"type":"module"}');
  run(project, "npm", "install", "--no-audit", "--no-fund", "--offline", packed.filename);
  const programs = readFileSync(join(project, "node_modules/callhistory/README.md"), "utf8").matchAll(/^```ts\n(.*?)^```$/gms);
  const names = [...programs].map(([, program], at) => {
    writeFileSync(join(project, `readme-${at}.ts`), `${program}export {};\n`);
    return `readme-${at}.ts`;
  });
  if (names.length < 5) throw new Error("the README has too few programs");
  const strict = "--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --target es2022 --module nodenext --types node";
  const roots = ["--typeRoots", join(root, "node_modules/@types")];
  run(project, join(root, "node_modules/.bin/tsc"), ...strict.split(" "), ...roots, ...names);
  console.log(`${packed.filename}: ${files.length} files, ${packed.size} bytes; ${names.length} programs of the README compile`);
} finally {
  rmSync(project, { recursive: true });
}
