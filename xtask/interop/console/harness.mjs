// Runs tests of the console in a browser, each in a context of its own. A test fails if it throws, if the page logs an error, or if
// the policy of the page is violated. Tests wait for states, never for a time.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

/** What the runner has started: base URLs of a demonstration, a server with keys and one without console; keys by name. */
export const server = JSON.parse(process.env.CALLHISTORY_CONSOLE ?? "{}");
/** The workspace of the demonstration. */
export const WORKSPACE = "demo";
/** Long, because machines may be busy: only a defect reaches it. */
const PATIENCE = 120_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({ executablePath: server.browser, args: ["--no-sandbox"], timeout: PATIENCE });
let failures = 0;

/**
 * Runs a test.
 * @param {string} name
 * @param {(tools: { page: import("playwright-core").Page, server: any, axe: (page?: any) => Promise<void>, open: Function,
 *   problems: string[] }) => Promise<void>} test
 * @param {object} options of the context, such as `viewport` and `colorScheme`; `allow` are patterns of messages that are expected
 */
export async function run(name, test, { allow = [], ...options } = {}) {
  const defaults = { viewport: { width: 1280, height: 900 }, locale: "en-US", timezoneId: "UTC", reducedMotion: "reduce" };
  const context = await browser.newContext({ ...defaults, ...options });
  context.setDefaultTimeout(PATIENCE);
  const problems = [];
  await watch(context, problems);
  const page = await context.newPage();
  const open = (hash = "", base = server.demo) => page.goto(`${base}/console${hash}`);
  try {
    await test({ page, server, open, problems, axe: (other = page) => axe(other) });
    const unexpected = problems.filter((problem) => !allow.some((pattern) => pattern.test(problem)));
    if (unexpected.length > 0) throw new Error(unexpected.join("\n"));
    console.log(`    ${name}: ok`);
  } catch (error) {
    failures += 1;
    process.exitCode = 1;
    console.log(`    ${name}: FAILED\n${error?.stack ?? error}`);
    const picture = `failed-${failures}.png`;
    await page.screenshot({ path: picture }).then(() => console.log(`    see ${process.cwd()}/${picture}`), () => {});
  } finally {
    await context.close();
  }
}

/** Collects errors that pages log, exceptions, and violations of the policy. */
async function watch(context, problems) {
  await context.exposeBinding("reportViolation", (_, text) => problems.push(`policy: ${text}`));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      globalThis.reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  context.on("console", (message) => {
    if (message.type() === "error") problems.push(`console: ${message.text()} ${message.location().url}`);
  });
  context.on("weberror", (error) => problems.push(`exception: ${error.error().stack}`));
}

/** Throws if axe finds a violation of WCAG 2.2 AA or of its best practices. */
async function axe(page) {
  await page.evaluate(AXE);
  const result = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  const found = result.violations.map(({ id, help, nodes }) =>
    `axe: ${id}: ${help}\n${nodes.slice(0, 5).map((node) => `  ${node.target.join(" ")}: ${node.failureSummary}`).join("\n")}`);
  if (found.length > 0) throw new Error(found.join("\n"));
}

/** Both schemes on a phone and on a desktop. */
export const VARIANTS = ["light", "dark"].flatMap((colorScheme) =>
  [[360, 780], [1280, 900]].map(([width, height]) => ({ colorScheme, viewport: { width, height } })));

/** @param {{ colorScheme: string, viewport: { width: number } }} variant @returns {string} such as `dark 360` */
export function variantName({ colorScheme, viewport }) {
  return `${colorScheme} ${viewport.width}`;
}

/** Throws unless a condition holds. */
export function check(condition, message) {
  if (!condition) throw new Error(message);
}

/** Closes the browser. Each script calls it at its end. */
export async function finish() {
  await browser.close();
}
