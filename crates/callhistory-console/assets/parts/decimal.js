// Exact decimals as text: no amount passes through a binary float.

/** @typedef {{ units: bigint, scale: number }} Decimal An amount of `units` times ten to the power of minus `scale`. */

const FORM = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;
/** Beyond this exponent an amount has more digits than anyone reads. */
const LARGEST_EXPONENT = 400;

/**
 * Reads a JSON number.
 * @param {string} text
 * @returns {Decimal | null} null if the text is no number, or out of range
 */
export function decimal(text) {
  const found = FORM.exec(text.trim());
  if (!found) return null;
  const [, sign, whole, fraction = "", exponent = "0"] = found;
  const power = Number(exponent);
  if (Math.abs(power) > LARGEST_EXPONENT) return null;
  const units = BigInt(`${sign}${whole}${fraction}`);
  const scale = fraction.length - power;
  return scale >= 0 ? { units, scale } : { units: units * 10n ** BigInt(-scale), scale: 0 };
}

/** @param {Decimal} a @param {number} scale */
const scaled = (a, scale) => a.units * 10n ** BigInt(scale - a.scale);

/** @param {Decimal} a @param {Decimal} b @param {(x: bigint, y: bigint) => bigint} operation @returns {Decimal} */
function together(a, b, operation) {
  const scale = Math.max(a.scale, b.scale);
  return { units: operation(scaled(a, scale), scaled(b, scale)), scale };
}

/** @param {Decimal} a @param {Decimal} b */
export const add = (a, b) => together(a, b, (x, y) => x + y);
/** @param {Decimal} a @param {Decimal} b */
export const subtract = (a, b) => together(a, b, (x, y) => x - y);
/** @param {Decimal} a @param {Decimal} b -1, 0 or 1 */
export const compare = (a, b) => Math.sign(Number(subtract(a, b).units > 0n) - Number(subtract(a, b).units < 0n));

/** @param {Decimal} value @returns {string} */
export function decimalText({ units, scale }) {
  const negative = units < 0n;
  const digits = String(negative ? -units : units).padStart(scale + 1, "0");
  const text = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
  return negative ? `-${text}` : text;
}

/**
 * `part` of `whole`, in tenths of a per cent, half up; null of nothing.
 * @param {Decimal} part @param {Decimal} whole
 * @returns {number | null}
 */
export function permille(part, whole) {
  const scale = Math.max(part.scale, whole.scale);
  const [a, b] = [scaled(part, scale), scaled(whole, scale)];
  if (b === 0n) return null;
  const magnitude = (2000n * (a < 0n ? -a : a) + (b < 0n ? -b : b)) / (2n * (b < 0n ? -b : b));
  const negative = a < 0n !== b < 0n;
  return Number(negative ? -magnitude : magnitude);
}

/**
 * The change from one amount to another, in tenths of a per cent; null from nothing.
 * @param {Decimal} before @param {Decimal} after
 */
export const change = (before, after) => permille(subtract(after, before), before);
