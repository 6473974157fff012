// Signing in where the server requires keys: refused, accepted, kept for the tab, signed out; never in a URL.
import { check, finish, run, server, VARIANTS, variantName } from "./harness.mjs";

const REFUSED = [/status of 40[013]/];

/** Fills the form and sends it. */
async function signIn(page, workspace, key, { remember = false } = {}) {
  await page.waitForSelector(".sign-in");
  await page.locator(".sign-in input[name=workspace]").fill(workspace);
  await page.locator(".sign-in input[name=key]").fill(key);
  await page.locator(".sign-in input[name=remember]").setChecked(remember);
  await page.locator(".sign-in button[type=submit]").click();
}

for (const variant of VARIANTS) {
  await run(`sign-in, ${variantName(variant)}`, async ({ page, open, axe }) => {
    await open("", server.keyed);
    await page.waitForSelector(".sign-in input[name=key]");
    await axe();
    await signIn(page, "acme", "chk_nobody_knows_this");
    await page.locator(".sign-in-error:not(:empty)").waitFor();
    await axe();
  }, { ...variant, allow: REFUSED });
}

await run("a key is refused, then another one is accepted, and leads to where the link pointed", async ({ page, open }) => {
  await open("#/operate?workspace=acme", server.keyed);
  await signIn(page, "acme", "no key");
  await page.getByText("it has characters that no key has").waitFor();
  await signIn(page, "acme", "chk_nobody_knows_this");
  await page.locator(".sign-in-error:not(:empty)").waitFor();
  check(await page.evaluate(() => sessionStorage.length === 0), "a refused key was kept");
  await signIn(page, "acme", server.keys.all);
  await page.waitForURL("**#/operate?workspace=acme");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.locator(".operate-facts", { hasText: "phone-numbers:read" }).getByText("Yes").nth(4).waitFor();
  check(!page.url().includes(server.keys.all), "the key is in the URL");
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  check(!kept.includes(server.keys.all), "the key was kept without being asked for");
  await page.reload();
  await page.waitForSelector(".sign-in input[name=key]");
}, { allow: [/status of 40[0134]/, /status of 412/] });

await run("a key is kept for the tab, and forgotten by signing out", async ({ page, open }) => {
  await open("#/operate?workspace=acme", server.keyed);
  await signIn(page, "acme", server.keys.masked, { remember: true });
  await page.waitForSelector(".operate");
  await page.reload();
  await page.waitForSelector(".operate");
  const other = await page.context().newPage();
  await other.goto(`${server.keyed}/console#/operate?workspace=acme`);
  await other.waitForSelector(".sign-in input[name=key]");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForSelector(".sign-in");
  check(await page.evaluate(() => sessionStorage.length === 0), "the key was kept after signing out");
  await page.goBack();
  await page.waitForSelector(".sign-in input[name=key]");
});

await run("what a key lacks is named", async ({ page, open }) => {
  await open("#/operate?workspace=acme", server.keyed);
  await signIn(page, "acme", server.keys.writeOnly);
  await page.waitForSelector(".operate");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.locator(".operate-facts div", { hasText: "calls:export" }).getByText("No").waitFor();
  await page.locator(".operate-facts div", { hasText: "calls:write" }).getByText("Yes").waitFor();
}, { allow: [/status of 40[34]/, /status of 412/] });

await run("another key opens the page that was refused", async ({ page, open }) => {
  await open("#/sign-in?workspace=acme", server.keyed);
  await signIn(page, "acme", server.keys.writeOnly);
  await page.waitForSelector(".state-error");
  await page.evaluate(() => { location.hash = "#/calls/some-call?workspace=acme&status=failed"; });
  await page.getByText("calls:read").waitFor();
  await page.getByRole("link", { name: "Use another key" }).click();
  await signIn(page, "acme", server.keys.all);
  await page.waitForURL("**#/calls/some-call?workspace=acme&status=failed");
  await page.getByText("There is no such call").waitFor();
}, { allow: [/status of 40[34]/] });

await run("a key that is no longer accepted is asked for again, with the reason and the way back", async ({ page, open }) => {
  await open("#/operate?workspace=acme", server.keyed);
  await signIn(page, "acme", server.keys.all);
  await page.waitForSelector(".operate");
  await page.route("**/v2/api/call-history?*", (route) => route.fulfill({
    status: 401,
    contentType: "application/problem+json",
    body: JSON.stringify({ status: 401, code: "key_revoked", detail: "The key is revoked." }),
  }));
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByText("This key was revoked").waitFor();
  await page.unroute("**/v2/api/call-history?*");
  await signIn(page, "acme", server.keys.all);
  await page.waitForURL("**#/operate?workspace=acme");
}, { allow: [/status of 401/] });

await run("a damaged kept key asks again", async ({ page, open }) => {
  await page.addInitScript(() => sessionStorage.setItem("callhistory.key", "with a blank\u0000"));
  await open("#/operate?workspace=acme", server.keyed);
  await page.waitForSelector(".sign-in input[name=key]");
});

await finish();
