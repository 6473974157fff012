// Runs `redocly diff` on many pairs of documents in one process, because starting it takes longer than comparing.
// The argument is a JSON file with pairs of paths. Prints the number of breaking changes of each pair, or null where the
// comparison failed.
import { readFileSync } from "node:fs";

const program = new URL("./node_modules/@redocly/cli/lib/index.js", import.meta.url).href;
const pairs = JSON.parse(readFileSync(process.argv[2], "utf8"));
const exit = process.exit;
const write = process.stdout.write.bind(process.stdout);

async function breakingChanges(pair, index) {
  let output = "";
  let ended = false;
  process.argv = [process.argv[0], "redocly", "diff", ...pair, "--format", "json"];
  process.stdout.write = (text, encoding, callback) => {
    output += text;
    (typeof encoding === "function" ? encoding : callback)?.();
    return true;
  };
  // The program draws a notice of Node's age for each pair. If it fails, it prints a stack and does not exit.
  process.stderr.write = (text) => {
    ended ||= /^ +at /m.test(text);
    return true;
  };
  process.exit = () => {
    ended = true;
    return new Promise(() => {});
  };
  // Another query makes another instance of the entry module; what it imports stays loaded.
  await import(`${program}?pair=${index}`);
  for (let waited = 0; waited < 30_000 && !ended; waited += 5) {
    try {
      return JSON.parse(output).summary.major;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  return null;
}

const found = [];
for (const [index, pair] of pairs.entries()) {
  found.push(await breakingChanges(pair, index));
}
write(JSON.stringify(found));
exit(0);
