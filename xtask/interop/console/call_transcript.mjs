// Transcripts of thousands of turns, searches that led to a call, and recordings that seek and follow.
import assert from "node:assert/strict";
import { check, finish, run } from "./harness.mjs";
import { axeInBoth, complete, put, RECORDINGS, serveRecordings, START } from "./call_data.mjs";

const WORKSPACE = "console-call-transcript";
const TURNS = 6000;

const large = {
  status: "completed", startTime: START, endTime: START + 20_000,
  transcript: Array.from({ length: TURNS }, (_, index) => ({
    role: index % 2 ? "user" : "agent", time: index * 3, content: `Turn ${index} ${index === 4321 ? "has the Näedle" : "has nothing to find"}`,
  })),
};

await run("a transcript of 6,000 turns", async ({ page, server, axe }) => {
  await put(server.demo, WORKSPACE, "large", large);
  const url = `${server.demo}/console#/calls/large?workspace=${WORKSPACE}`;
  await page.goto(url);
  await page.waitForSelector("#turn-199");
  assert.equal(await page.locator(".turn").count(), 200, "the first turns only");
  await axeInBoth(page, axe);
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await page.waitForSelector("#turn-399");
  assert.ok(await page.locator(".turn").count() < TURNS, "further turns on scroll, and no more than come near");
  await page.getByRole("button", { name: /Show more turns/ }).click();
  await page.waitForSelector("#turn-599");
});

await run("a search leads to the turn that matches", async ({ page, server }) => {
  await put(server.demo, WORKSPACE, "large", large);
  await page.goto(`${server.demo}/console#/calls/large?workspace=${WORKSPACE}&q=naedle`);
  await page.waitForSelector("#turn-4321[data-hit]");
  assert.deepEqual(await page.locator("mark").allInnerTexts(), ["Näedle"]);
  await page.waitForFunction(() => {
    const box = document.querySelector("#turn-4321").getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight;
  });
  assert.match(await page.locator(".transcript-bar").innerText(), /1 turn matches/);
  await page.goto("about:blank");
  await page.goto(`${server.demo}/console#/calls/large?workspace=${WORKSPACE}&turn=2000`);
  await page.waitForFunction(() => (document.querySelector("#turn-2000[data-hit]")?.getBoundingClientRect().top ?? -1) > 0);
  await page.goto("about:blank");
  await page.goto(`${server.demo}/console#/calls/large?workspace=${WORKSPACE}&at=3001`);
  await page.waitForSelector("#turn-1000[data-hit]");
});

await run("a recording seeks and the transcript follows", async ({ page, server, axe }) => {
  await serveRecordings(page);
  await put(server.demo, WORKSPACE, "played", complete(`${RECORDINGS}/call.wav`));
  await page.goto(`${server.demo}/console#/calls/played?workspace=${WORKSPACE}`);
  await page.locator("#turn-3 button.turn-time").click();
  await page.waitForSelector("#turn-3[data-current][aria-current='true']");
  check(await page.evaluate(() => document.querySelector("audio").currentTime) >= 6, "the recording did not seek");
  await page.waitForSelector("#turn-4[data-current]");
  check(await page.locator(".turn[data-current]").count() === 1, "more than one turn is current");
  await page.keyboard.press("p");
  await page.waitForFunction(() => document.querySelector("audio").paused);
  await page.getByRole("button", { name: /^Speed/ }).click();
  check(await page.evaluate(() => document.querySelector("audio").playbackRate) === 1.25, "the speed did not change");
  await axeInBoth(page, axe);
});

await run("a recording that cannot be loaded", async ({ page, server }) => {
  await page.route(`${RECORDINGS}/**`, (route) => route.fulfill({ status: 404 }));
  await put(server.demo, WORKSPACE, "lost", complete(`${RECORDINGS}/lost.wav`));
  await page.goto(`${server.demo}/console#/calls/lost?workspace=${WORKSPACE}`);
  await page.waitForSelector(".call-player [role=alert]");
  assert.equal(await page.locator(".call-recording-link a").count(), 1, "the link stays");
}, { allow: [/status of 404/] });

await finish();
