// The frame: routes, preferences, shortcuts, skip link, headers, and the pages without data of their own.
import { check, finish, run, server, VARIANTS, variantName, WORKSPACE } from "./harness.mjs";

/** The pages, each with a text that it has once it is ready. */
const PAGES = [
  [`#/calls?workspace=${WORKSPACE}`, "main h1"],
  [`#/charts?workspace=${WORKSPACE}`, "main h1"],
  [`#/operate?workspace=${WORKSPACE}`, ".operate"],
  ["#/sign-in", ".sign-in"],
];

for (const variant of VARIANTS) {
  for (const [hash, ready] of PAGES) {
    await run(`${hash.split("?")[0]}, ${variantName(variant)}`, async ({ page, open, axe }) => {
      await open(hash);
      await page.waitForSelector(ready);
      await page.waitForSelector(".state-loading", { state: "detached" });
      await axe();
      const overflows = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      check(!overflows, "the page scrolls sideways");
    }, variant);
  }
}

await run("the page opens the calls of the demonstration", async ({ page, open }) => {
  await open();
  await page.waitForURL(`**/console#/calls?workspace=${WORKSPACE}`);
  await page.waitForSelector("nav a[aria-current=page]");
  check((await page.title()).endsWith("callhistory"), await page.title());
});

await run("damaged fragments open the calls", async ({ page, open }) => {
  for (const hash of ["#", "#/none", "#/calls/%E0%A4%A", "#/calls?workspace=%00", "#/../x", "#/calls?status=%", "#//", "#/operate/x"]) {
    await open(`?${encodeURIComponent(hash)}${hash}`);
    await page.waitForSelector("main h1, main .state");
    check((await page.url()).includes("workspace=demo"), `${hash}: ${page.url()}`);
  }
}, { allow: [/status of 40[04]/] });

await run("theme and language are kept, and damaged ones are ignored", async ({ page, open }) => {
  await open(`#/operate?workspace=${WORKSPACE}`);
  await page.getByLabel("Colors").selectOption("dark");
  await page.getByLabel("Language").selectOption("de");
  await page.waitForSelector("html[lang=de][data-theme=dark]");
  await page.reload();
  await page.waitForSelector("html[lang=de][data-theme=dark]");
  await page.getByRole("heading", { name: "Betrieb" }).waitFor();
  await page.evaluate(() => {
    for (const name of ["theme", "language", "workspace", "workspaces"]) localStorage.setItem(`callhistory.${name}`, "{\"<x>");
  });
  await page.reload();
  await page.getByRole("heading", { name: "Operate" }).waitFor();
  check(await page.evaluate(() => document.documentElement.dataset.theme === undefined), "a damaged theme was used");
});

await run("shortcuts, the help, and the skip link", async ({ page, open, axe }) => {
  await open(`#/operate?workspace=${WORKSPACE}`);
  await page.waitForSelector(".operate");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.activeElement?.id === "main"), "the skip link does not lead to the content");
  check(page.url().includes("#/operate"), page.url());
  await page.keyboard.press("?");
  await page.waitForSelector("dialog[open]");
  await axe();
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  await page.keyboard.press("g");
  await page.keyboard.press("h");
  await page.waitForURL("**#/charts?*");
  // What is typed into a field is no shortcut.
  await page.getByLabel("Workspace").fill("");
  await page.keyboard.type("g?o");
  check(page.url().includes("#/charts"), page.url());
  check(await page.locator("dialog").count() === 0, "a key in a field opened the help");
});

await run("another workspace can be chosen", async ({ page, open }) => {
  await open(`#/operate?workspace=${WORKSPACE}`);
  const chooser = page.getByLabel("Workspace");
  await chooser.fill("not a name");
  await chooser.press("Tab");
  await page.getByText("This is not the name of a workspace").first().waitFor({ state: "attached" });
  await chooser.fill("other");
  await chooser.press("Tab");
  await page.waitForURL("**#/operate?workspace=other");
  await page.goBack();
  await page.waitForURL(`**#/operate?workspace=${WORKSPACE}`);
});

await run("headers and policy", async () => {
  const page = await fetch(`${server.demo}/console`);
  const policy = page.headers.get("content-security-policy") ?? "";
  check(policy.includes("default-src 'none'; script-src 'self'; style-src 'self'"), policy);
  check(policy.includes("media-src 'self' recordings.example.com;"), policy);
  check(page.headers.get("x-content-type-options") === "nosniff", "nosniff is missing");
  check(page.headers.get("referrer-policy") === "no-referrer", "the referrer policy is missing");
  check((await fetch(`${server.without}/console`)).status === 404, "the console cannot be switched off");
});

await run("the policy stops what a page must not do", async ({ page, open, problems }) => {
  await open(`#/operate?workspace=${WORKSPACE}`);
  await page.waitForSelector(".operate");
  const stopped = await page.evaluate(async () => {
    const tries = {
      markup: () => { document.createElement("div").innerHTML = "<img src=x onerror=1>"; },
      script: () => { document.createElement("script").text = "1"; },
      network: () => fetch("https://example.com/"),
    };
    const failed = [];
    for (const [name, attempt] of Object.entries(tries)) {
      try { await attempt(); } catch { failed.push(name); }
    }
    return failed.join();
  });
  check(stopped === "markup,script,network", `only these were stopped: ${stopped}`);
  check(problems.length > 0, "the violations were not reported");
}, { allow: [/./] });

await run("a failing server is named, and tried again", async ({ page, open }) => {
  let isDown = true;
  await page.route("**/readyz", (route) => (isDown ? route.abort() : route.continue()));
  await open(`#/operate?workspace=${WORKSPACE}`);
  await page.getByText("The server cannot be reached").waitFor();
  isDown = false;
  await page.getByRole("button", { name: "Check again" }).click();
  await page.getByText("The server cannot be reached").waitFor({ state: "detached" });
}, { allow: [/ERR_FAILED/] });

await finish();
