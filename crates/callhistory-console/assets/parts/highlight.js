// Marks the words of a search in a text, without case, accents and width, as the search compares them.

/** @param {string} text */
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/**
 * The words and phrases of a search.
 * @param {string} query
 * @returns {string[]} folded
 */
export function termsOf(query) {
  const terms = [];
  for (const [, phrase, word] of query.matchAll(/"([^"]+)"|([^\s"]+)/g)) {
    const term = fold((phrase ?? word ?? "").replace(/\*+$/, "")).trim();
    if (/[\p{L}\p{N}]/u.test(term)) terms.push(term);
  }
  return terms.slice(0, 16);
}

/** The folded text, and for each of its characters where it begins in the text. @param {string} text */
function folded(text) {
  let out = "";
  /** @type {number[]} */
  const from = [];
  let at = 0;
  for (const character of text) {
    const part = fold(character);
    for (let i = 0; i < part.length; i += 1) from.push(at);
    out += part;
    at += character.length;
  }
  from.push(text.length);
  return { out, from };
}

const WORD = /[\p{L}\p{N}]/u;
/** Scripts without blanks between words, in which a match may begin anywhere. */
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\d]/u;

/**
 * Where the terms occur.
 * @param {string} text
 * @param {string[]} terms
 * @returns {Array<[number, number]>} ranges of the text, in order, without overlaps
 */
export function matchesOf(text, terms) {
  if (terms.length === 0) return [];
  const { out, from } = folded(text);
  /** @type {Array<[number, number]>} */
  const found = [];
  for (const term of terms) {
    for (let at = out.indexOf(term); at >= 0; at = out.indexOf(term, at + term.length)) {
      const begins = at === 0 || !WORD.test(out[at - 1] ?? "") || UNSPACED.test(term[0] ?? "");
      if (!begins) continue;
      let end = at + term.length;
      while (end < out.length && from[end] === from[end - 1]) end += 1;
      // An accent that was sent as a character of its own belongs to the letter before it.
      found.push([from[at] ?? 0, from[end] ?? text.length]);
    }
  }
  found.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  return found.filter(([, end], index) => index === 0 || end > (found[index - 1]?.[1] ?? 0))
    .map(([start, end], index, all) => [Math.max(start, all[index - 1]?.[1] ?? 0), end]);
}

/**
 * A text in pieces, of which those that match are marked.
 * @param {string} text
 * @param {string[]} terms
 * @returns {Array<{ text: string, isMatch: boolean }>}
 */
export function pieces(text, terms) {
  const out = [];
  let at = 0;
  for (const [start, end] of matchesOf(text, terms)) {
    if (start > at) out.push({ text: text.slice(at, start), isMatch: false });
    out.push({ text: text.slice(start, end), isMatch: true });
    at = end;
  }
  if (at < text.length || out.length === 0) out.push({ text: text.slice(at), isMatch: false });
  return out;
}
