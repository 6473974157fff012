// The types that the modules of the console share. They are global, so that JSDoc can name them without imports.

import type { TemplateResult, nothing } from "../assets/vendor/lit-html/lit-html.js";
// Generated from the contract by `cargo xtask interop`.
import type { components } from "./contract.js";

declare global {
  /** The schemas of the contract by their name. */
  type Schemas = components["schemas"];
  type CallRecord = Schemas["CallRecord"];

  type Template = TemplateResult | typeof nothing;

  interface State {
    /** calls, call, charts, operate or sign-in */
    page: string;
    /** The ID of a call, on the page `call`. */
    id: string;
    workspace: string;
    params: Map<string, string>;
  }

  type Params = Record<string, string | number | boolean | null | undefined> | Map<string, string>;

  interface ApiResponse {
    body: any;
    headers: Headers;
    status: number;
  }

  interface StreamEvent {
    type: string;
    data: string;
    id?: string;
    retry?: number;
  }

  type Translate = (key: string, params?: Record<string, string | number>) => string;

  interface Format {
    language: string;
    timeZone: string;
    /** Each time is in Unix seconds or an RFC 3339 text. What is no time is shown as it is. */
    date(time: number | string): string;
    time(time: number | string): string;
    dateTime(time: number | string): string;
    relative(time: number | string): string;
    number(value: number | string, options?: Intl.NumberFormatOptions): string;
    percent(share: number): string;
    /** An exact decimal as text: no digit is lost. */
    money(amount: number | string, currency?: string): string;
    duration(seconds: number | string): string;
    bytes(count: number): string;
  }

  /** What the server says to the page: /console/config.json. */
  interface Config {
    version: string;
    requireKeys: boolean;
    recordingHosts: string[];
    /** The workspace to open if none is chosen; only a demonstration has one. */
    workspace: string | null;
  }

  interface Ctx {
    state: State;
    api: import("../assets/api.js").Api;
    session: import("../assets/session.js").Session;
    config: Config;
    t: Translate;
    format: Format;
    navigate(hash: string, options?: { replace?: boolean }): void;
    /** Asks for one render in the next animation frame. */
    update(): void;
    /** Renders at once, for what does not wait for a frame, such as printing. */
    draw(): void;
    /** Says a text to screen readers. */
    announce(text: string): void;
    /** Aborted when the page is left. */
    signal: AbortSignal;
  }

  interface Page {
    title(ctx: Ctx): string;
    /** The page is opened. Starts loading. */
    enter(ctx: Ctx): void;
    leave(ctx: Ctx): void;
    /**
     * The state has changed on the same page (and the same call): `ctx.state` is the new one, `ctx.signal` goes on.
     * A page without this is left and entered with a new context.
     */
    change?(ctx: Ctx, before: State): void;
    render(ctx: Ctx): Template;
    /** What each key does, by `KeyboardEvent.key`. */
    keys: Record<string, (ctx: Ctx, event: KeyboardEvent) => void>;
    /** The shortcuts of the page for the help: the key, and the key of the text. */
    help?: Array<[string, string]>;
  }
}
