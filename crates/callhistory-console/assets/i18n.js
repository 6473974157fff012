// Texts, and the forms of dates and numbers, in the chosen language.

import en from "./strings/en.js";
import de from "./strings/de.js";
import { readPreference, writePreference } from "./preferences.js";

/** @type {Record<string, Record<string, string>>} */
const STRINGS = { en, de };
export const LANGUAGES = Object.keys(STRINGS);

/** @returns {string} the chosen language, or that of the browser if there are texts in it */
export function language() {
  const chosen = readPreference("language");
  if (chosen !== null && LANGUAGES.includes(chosen)) return chosen;
  const wanted = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase());
  return wanted.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

/** @param {string} chosen */
export function chooseLanguage(chosen) {
  if (LANGUAGES.includes(chosen)) writePreference("language", chosen);
}

/**
 * The texts of a language. `{name}` is replaced by the parameter `name`; with a parameter `count`, the text of its plural
 * category (`key.one`, `key.other`) is taken, if there is one.
 * @param {string} language
 * @returns {Translate}
 */
export function translator(language) {
  const strings = STRINGS[language] ?? en;
  const plural = new Intl.PluralRules(language);
  const number = new Intl.NumberFormat(language);
  return (key, params = {}) => {
    const count = params["count"];
    const form = typeof count === "number" ? strings[`${key}.${plural.select(count)}`] ?? strings[`${key}.other`] : undefined;
    const text = form ?? strings[key] ?? /** @type {Record<string, string>} */ (en)[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => {
      const value = params[name];
      return value === undefined ? whole : typeof value === "number" ? number.format(value) : value;
    });
  };
}

/** @param {string} zone @returns {boolean} whether this is a zone that the browser knows */
export function isZone(zone) {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: zone }) !== null;
  } catch {
    return false;
  }
}

/** @returns {string} the zone of this machine */
export function localZone() {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

const UNITS = /** @type {const} */ ([["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3600], ["minute", 60]]);

/**
 * @param {number | string} time Unix seconds, or RFC 3339
 * @returns {Date | null}
 */
function toDate(time) {
  const seconds = typeof time === "number" ? time : /^-?\d+(\.\d+)?$/.test(time) ? Number(time) : NaN;
  const date = new Date(Number.isNaN(seconds) ? time : seconds * 1000);
  return Number.isNaN(date.getTime()) ? null : date;
}

/**
 * @param {string} language
 * @param {string} timeZone an IANA name; one that the browser does not know is taken for UTC
 * @returns {Format}
 */
export function formatter(language, timeZone) {
  const zone = isZone(timeZone) ? timeZone : "UTC";
  /** @param {Intl.DateTimeFormatOptions} options */
  const dates = (options) => {
    const format = new Intl.DateTimeFormat(language, { timeZone: zone, ...options });
    /** @param {number | string} time */
    return (time) => {
      const date = toDate(time);
      return date === null ? String(time) : format.format(date);
    };
  };
  return {
    language,
    timeZone: zone,
    date: dates({ dateStyle: "medium" }),
    time: dates({ timeStyle: "medium" }),
    dateTime: dates({ dateStyle: "medium", timeStyle: "medium" }),
    ...numbers(language),
    relative(time) {
      const date = toDate(time);
      if (date === null) return String(time);
      const seconds = (date.getTime() - Date.now()) / 1000;
      const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
      return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(Math.round(seconds / length), unit);
    },
  };
}

/** @param {string} language */
function numbers(language) {
  /** @param {number | string} value @param {Intl.NumberFormatOptions} [options] */
  const number = (value, options) => {
    // A text goes in as it is: a binary float would lose its digits.
    const exact = /** @type {any} */ (value);
    return /^-?\d+(\.\d+)?$/.test(String(value)) ? new Intl.NumberFormat(language, options).format(exact) : String(value);
  };
  return {
    number: (/** @type {number | string} */ value, /** @type {Intl.NumberFormatOptions | undefined} */ options) =>
      number(value, { maximumFractionDigits: 20, ...options }),
    percent: (/** @type {number} */ share) => number(share, { style: "percent", maximumFractionDigits: 1 }),
    money: (/** @type {number | string} */ amount, /** @type {string | undefined} */ currency) => money(number, amount, currency),
    duration: (/** @type {number | string} */ seconds) => duration(seconds),
    bytes(/** @type {number} */ count) {
      const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
      const power = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), units.length - 1);
      return number(count / 1000 ** power, {
        style: "unit", unit: units[power] ?? "byte", unitDisplay: power === 0 ? "long" : "short", maximumFractionDigits: 1,
      });
    },
  };
}

/**
 * @param {(value: number | string, options?: Intl.NumberFormatOptions) => string} number
 * @param {number | string} amount
 * @param {string | undefined} currency
 */
function money(number, amount, currency) {
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 20 };
  if (currency === undefined || !/^[A-Za-z]{3}$/.test(currency)) return number(amount, digits);
  return number(amount, { style: "currency", currency, ...digits });
}

/** @param {number | string} value seconds @returns {string} such as 3:07 or 1:02:03 */
function duration(value) {
  const seconds = Number(value);
  if (!Number.isFinite(seconds) || seconds < 0) return String(value);
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
