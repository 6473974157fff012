// Takes the pictures of the documentation: the console as it is, with the calls of the demonstration.
import { writeFile } from "node:fs/promises";
import { crc32, deflateSync, inflateSync } from "node:zlib";
import { check, finish, run, server, WORKSPACE } from "./harness.mjs";

const FOLDER = process.argv[2];
const REFUSED = [/status of 40[034]/];
const LIST = `#/calls?workspace=${WORKSPACE}`;
const WINDOW = { width: 1280, height: 800 };

/** Everything that the page loads is there, and nothing has the focus. */
async function settled(page, ready) {
  await page.locator(ready).first().waitFor();
  await page.waitForSelector('[aria-busy="true"], .state-loading', { state: "detached" });
  await page.waitForLoadState("networkidle");
  await page.evaluate(() => document.fonts.ready.then(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); })));
}

/** The pixels of a PNG with eight bits for each of red, green and blue. @param {Buffer} png */
function pixelsOf(png) {
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  check(png[24] === 8 && png[25] === 2 && png[28] === 0, "the browser writes another kind of PNG");
  const data = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString("latin1", at + 4, at + 8) === "IDAT") data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  }
  const [lines, stride] = [inflateSync(Buffer.concat(data)), width * 3];
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = lines[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const at = y * stride + x;
      const [left, up] = [x < 3 ? 0 : pixels[at - 3], y === 0 ? 0 : pixels[at - stride]];
      const corner = x < 3 || y === 0 ? 0 : pixels[at - stride - 3];
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      const guess = [0, left, up, (left + up) >> 1, a <= b && a <= c ? left : b <= c ? up : corner][filter];
      pixels[at] = lines[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return { width, height, pixels };
}

/** The same picture with the 256 colors that occur most, which is a third of the bytes. @param {Buffer} png @returns {Buffer} */
function small(png) {
  const { width, height, pixels } = pixelsOf(png);
  const colors = Array.from({ length: width * height }, (_, at) => pixels.readUIntBE(at * 3, 3));
  const counts = new Map();
  for (const color of colors) counts.set(color, (counts.get(color) ?? 0) + 1);
  const palette = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 256).map(([color]) => color);
  const distance = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + (((a >> shift) & 255) - ((b >> shift) & 255)) ** 2, 0);
  const nearest = (color) => palette.reduce((best, other, index) => (distance(color, other) < distance(color, palette[best]) ? index : best), 0);
  const indexes = new Map([...counts.keys()].map((color) => [color, nearest(color)]));
  const lines = Buffer.alloc((width + 1) * height);
  colors.forEach((color, at) => { lines[at + Math.floor(at / width) + 1] = indexes.get(color); });
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const head = Buffer.concat([png.subarray(16, 24), Buffer.from([8, 3, 0, 0, 0])]);
  const table = Buffer.from(palette.flatMap((color) => [color >> 16, (color >> 8) & 255, color & 255]));
  return Buffer.concat([png.subarray(0, 8), chunk("IHDR", head), chunk("PLTE", table), chunk("IDAT", deflateSync(lines, { level: 9 })), chunk("IEND", Buffer.alloc(0))]);
}

/** @param {string} name @param {string} hash @param {string} ready what is there when the page is @param {object} [options] of the context */
function picture(name, hash, ready, options = {}) {
  return run(name, async ({ page, open }) => {
    await open(hash);
    await settled(page, ready);
    const png = small(await page.screenshot({ animations: "disabled", caret: "hide" }));
    await writeFile(`${FOLDER}/${name}.png`, png);
    console.log(`    ${png.length} bytes`);
  }, { viewport: WINDOW, allow: REFUSED, ...options });
}

/** A completed call with tools: the newest one of the demonstration. */
async function completed() {
  const url = `${server.demo}/v2/api/call-history?status=completed&direction=inbound&limit=1&fields=_id`;
  const [call] = await (await fetch(url, { headers: { "x-workspace-id": WORKSPACE } })).json();
  return call._id;
}

await picture("calls", LIST, ".facet");
await picture("search", `${LIST}&q=order number`, ".calls-evidence");
await picture("charts", `#/charts?workspace=${WORKSPACE}&range=14d`, ".heat", { viewport: { width: 1280, height: 1000 } });
await picture("call", `#/calls/${await completed()}?workspace=${WORKSPACE}`, ".call-steps[data-ready]", { viewport: { width: 1280, height: 900 } });
await picture("dark", LIST, ".facet", { colorScheme: "dark" });
await picture("phone", LIST, ".calls-row", { viewport: { width: 390, height: 780 } });
await finish();
