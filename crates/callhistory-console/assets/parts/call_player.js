// The recording: a player if its host is allowed, else a link.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

const RATES = [1, 1.25, 1.5, 2, 0.75];

/**
 * Where a recording is; null if the text is no web address.
 * @param {string} text
 * @returns {URL | null}
 */
export function recordingAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url : null;
  } catch {
    return null;
  }
}

/**
 * Whether the policy of the page lets it play from there: a host that is named without a port is its usual port, and a page
 * with TLS plays nothing without.
 * @param {URL} url @param {string[]} hosts
 */
export function isPlayable(url, hosts) {
  const port = url.protocol === "https:" ? "443" : "80";
  const names = [url.host, `${url.hostname}:${url.port === "" ? port : url.port}`];
  const isNamed = hosts.some((host) => names.some((name) => (host.startsWith("*.") ? name.endsWith(host.slice(1)) : name === host)));
  return isNamed && (url.protocol === "https:" || location.protocol === "http:");
}

/** The player of a page: its element, its rate, and who listens to its time. */
export class Player {
  /**
   * @param {() => void} update
   * @param {(seconds: number) => void} onTime
   * @param {number} start seconds into the recording at which it begins
   */
  constructor(update, onTime, start) {
    this.update = update;
    this.start = start;
    this.onTime = onTime;
    /** @type {HTMLAudioElement | null} */
    this.audio = null;
    this.hasFailed = false;
    this.rate = 1;
  }

  get isReady() {
    return this.audio !== null && !this.hasFailed;
  }

  /** @param {Element | undefined} element */
  attach = (element) => {
    const audio = element instanceof HTMLAudioElement ? element : null;
    if (audio === this.audio) return;
    this.audio = audio;
    if (audio !== null && this.start > 0) audio.currentTime = this.start;
    // Turns with a time become buttons as soon as there is a player.
    this.update();
  };

  /** @param {number} seconds */
  seek(seconds) {
    if (this.audio === null) return;
    this.audio.currentTime = seconds;
    void this.audio.play().catch(() => undefined);
    this.onTime(seconds);
  }

  toggle() {
    if (this.audio === null) return;
    if (this.audio.paused) void this.audio.play().catch(() => undefined);
    else this.audio.pause();
  }

  nextRate() {
    this.rate = RATES[(RATES.indexOf(this.rate) + 1) % RATES.length] ?? 1;
    if (this.audio !== null) this.audio.playbackRate = this.rate;
    this.update();
  }

  fail() {
    this.hasFailed = true;
    this.update();
  }
}

/** @param {Ctx} ctx @param {URL} url */
function link({ t }, url) {
  return html`<p class="call-recording-link"><a href=${url.href} target="_blank" rel="noreferrer noopener">${t("call.open-recording")}</a>
    <span class="muted" dir="auto">${url.host}</span></p>`;
}

/**
 * @param {Ctx} ctx
 * @param {string} text the member `recordingUrl`
 * @param {Player} player
 * @returns {Template}
 */
export function playerView(ctx, text, player) {
  if (text === "") return nothing;
  const { t } = ctx;
  const url = recordingAddress(text);
  if (url === null) return html`<div class="call-player"><p class="muted">${t("call.no-address")}</p><code dir="auto">${text}</code></div>`;
  if (!isPlayable(url, ctx.config.recordingHosts)) {
    return html`<div class="call-player">${link(ctx, url)}<p class="muted">${t("call.host-not-allowed", { host: url.host })}</p></div>`;
  }
  return html`<div class="call-player">
    ${player.hasFailed ? html`<p role="alert">${t("call.cannot-play")}</p>` : html`<div class="call-player-row">
      <audio controls preload="metadata" src=${url.href} aria-label=${t("call.recording")} ${ref(player.attach)}
        @timeupdate=${(/** @type {Event} */ event) => player.onTime(/** @type {HTMLAudioElement} */ (event.currentTarget).currentTime)}
        @error=${() => player.fail()}></audio>
      <button class="button" type="button" aria-label=${t("call.rate", { rate: ctx.format.number(player.rate) })}
        @click=${() => player.nextRate()}>${ctx.format.number(player.rate)}×</button></div>`}
    ${link(ctx, url)}
  </div>`;
}
