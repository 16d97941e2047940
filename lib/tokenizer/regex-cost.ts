import { refusedTokenizer } from './tokenizer-refusal.js';

/**
 * Looks at a regular expression before the tokenizers library runs it. Its engine, Oniguruma, tries one way after the
 * other, and a match that takes more than ten million tries ends the process. So a pattern is good only if the ways to
 * match from one place grow no faster than the text: with the number of characters times a small factor.
 *
 * It understands what published tokenizers use: alternatives, groups, lookaround, classes, escapes of one character, anchors
 * and quantifiers. A group may be repeated by `?`, and by `*` and `+` if there is one way to match it, of one length.
 */

/** How many ways there are to match from one place: `fixed`, and `growing` for each character of the text. */
interface Cost {
  readonly fixed: number;
  readonly growing: number;
  /** True where they grow with the square of the text, or faster. */
  readonly fast: boolean;
  /** True where the empty text is among what matches. */
  readonly empty: boolean;
}

interface Piece extends Cost {
  /** False if it matches at any place of any text, as `x*` does. */
  readonly canFail: boolean;
}

const NOTHING: Cost = { fixed: 1, growing: 0, fast: false, empty: true };
const ONE_WAY: Cost = { fixed: 1, growing: 0, fast: false, empty: false };
const WITHOUT_BOUND: Cost = { fixed: 1, growing: 1, fast: false, empty: false };
const either = (a: Cost, b: Cost): Cost => ({
  fixed: a.fixed + b.fixed,
  growing: a.growing + b.growing,
  fast: a.fast || b.fast,
  empty: a.empty || b.empty,
});
const both = (a: Cost, b: Cost): Cost => ({
  fixed: a.fixed * b.fixed,
  growing: a.fixed * b.growing + a.growing * b.fixed,
  fast: a.fast || b.fast || a.growing * b.growing > 0,
  empty: a.empty && b.empty,
});

const MOST_FIXED = 10_000;
const MOST_GROWING = 16;
/** `x{2,5}` is four ways; from here on a repetition counts as one without a bound. */
const MANY_TIMES = 8;

/** The longest text that may meet a pattern: this many characters times the ways stay below the engine's limit. */
export const LONGEST_FOR_PATTERNS = 500_000;

/**
 * @returns whether the pattern can match the empty text
 * @throws GradCacheError `CHECKPOINT` that says what in the pattern is not understood, or that it may take too many tries
 */
export function requireBoundedPattern(pattern: string): { empty: boolean } {
  const reader = new PatternReader(pattern);
  const { fixed, growing, fast, empty } = reader.alternatives();
  reader.end();
  if (fast || fixed > MOST_FIXED || growing > MOST_GROWING) {
    throw refusedTokenizer(
      `the pattern ${JSON.stringify(pattern)} may take too many tries to match (repetitions that follow each other)`,
      'Write it so that what follows a repetition begins with a character that the repetition does not take',
    );
  }
  return { empty };
}

class PatternReader {
  readonly #pattern: string;
  #at = 0;
  #depth = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  end(): void {
    if (this.#at < this.#pattern.length) throw this.#unknownPattern();
  }

  /** Alternatives up to the end of the group. */
  alternatives(): Cost {
    let cost = this.#sequence();
    while (this.#take(/\|/y) !== undefined) cost = either(cost, this.#sequence());
    return cost;
  }

  #sequence(): Cost {
    const pieces: Piece[] = [];
    for (let piece = this.#piece(); piece !== undefined; piece = this.#piece()) pieces.push(piece);
    // What can still fail sends the engine back into what comes before it; the rest of the sequence is never tried again.
    const last = this.#depth > 0 ? pieces.length : pieces.findLastIndex(({ canFail }) => canFail);
    const tried: Cost[] = pieces.slice(0, Math.max(last, 0));
    return { ...tried.reduce(both, NOTHING), empty: pieces.every(({ empty }) => empty) };
  }

  #piece(): Piece | undefined {
    if (this.#at === this.#pattern.length || /[|)]/.test(this.#pattern[this.#at]!)) return undefined;
    if (this.#take(/\(\?[im-]*\)/y) !== undefined) return { ...NOTHING, canFail: false };
    if (this.#take(/[\^$]|\\[bBAzZG]/y) !== undefined) return { ...NOTHING, canFail: true };
    const opening = this.#take(/\((?:\?(?:[im-]*:|>|<?[=!]))?/y);
    if (opening !== undefined) return this.#group(opening);
    const one =
      this.#take(
        /\\(?:[pP]\{\^?\w+\}|x\{[0-9a-fA-F]{1,6}\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[sSdDwWhHrntfvae]|[^\w\s])/y,
      ) ??
      this.#characterClass() ??
      this.#take(/[^\\[\](){}|^$*+?]/uy);
    if (one === undefined) throw this.#unknownPattern();
    return this.#repetition();
  }

  #group(opening: string): Piece {
    const looksAround = /[=!]$/.test(opening);
    const start = this.#at;
    this.#depth++;
    const inside = this.alternatives();
    this.#depth--;
    const body = this.#pattern.slice(start, this.#at);
    if (this.#take(/\)/y) === undefined) throw this.#unknownPattern();
    if ((opening === '(' || opening === '(?:') && this.#oneWay(inside, body)) {
      const repeated = this.#take(/[*+][?+]?(?![*+{?])/y);
      if (repeated !== undefined) {
        const canFail = repeated.startsWith('+');
        return { ...WITHOUT_BOUND, empty: !canFail, canFail };
      }
    }
    const optional = this.#take(/\?[?+]?/y) !== undefined;
    if (/[*+{?]/.test(this.#pattern[this.#at] ?? '')) throw this.#unknownPattern();
    const cost = optional ? either(inside, NOTHING) : inside;
    return { ...cost, empty: cost.empty || looksAround, canFail: !optional };
  }

  /**
   * Whether a group is matched in one way and at one length, so that it may be repeated as a character may. It must hold no
   * group, because lookaround takes tries of its own, and no case folding, in which `ss` matches `ß` too.
   */
  #oneWay({ fixed, growing, fast, empty }: Cost, body: string): boolean {
    const folds = /\(\?[a-z-]*i/.test(this.#pattern);
    return fixed === 1 && growing === 0 && !fast && !empty && !body.includes('(') && !folds;
  }

  #repetition(): Piece {
    const quantifier = this.#take(/[*+?][?+]?|\{\d+\}|\{\d*,\d*\}\??/y);
    if (quantifier === undefined) return { ...ONE_WAY, canFail: true };
    if (/[*+{?]/.test(this.#pattern[this.#at] ?? '')) throw this.#unknownPattern();
    const [, low = '', comma, high = ''] = /^\{(\d*)(,?)(\d*)\}/.exec(quantifier) ?? [];
    if (comma === undefined) {
      if (quantifier.startsWith('?')) return { ...either(ONE_WAY, NOTHING), canFail: false };
      return { ...WITHOUT_BOUND, empty: quantifier.startsWith('*'), canFail: quantifier.startsWith('+') };
    }
    const least = Number(low);
    const most = comma === '' ? least : high === '' ? Infinity : Number(high);
    if (least > 1000 || (most > 1000 && most !== Infinity) || most < least) throw this.#unknownPattern();
    const canFail = least > 0;
    return most - least >= MANY_TIMES
      ? { ...WITHOUT_BOUND, empty: !canFail, canFail }
      : { ...ONE_WAY, fixed: most - least + 1, empty: !canFail, canFail };
  }

  /** `[…]`, with classes inside it. */
  #characterClass(): string | undefined {
    if (this.#pattern[this.#at] !== '[') return undefined;
    const start = this.#at;
    let open = 0;
    do {
      if (this.#take(/\[\^?\]?/y) !== undefined) open++;
      else if (this.#take(/\]/y) !== undefined) open--;
      else if (this.#take(/\\[\s\S]|[^\\[\]]/uy) === undefined) throw this.#unknownPattern();
    } while (open > 0);
    return this.#pattern.slice(start, this.#at);
  }

  #take(what: RegExp): string | undefined {
    what.lastIndex = this.#at;
    const found = what.exec(this.#pattern)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #unknownPattern(): Error {
    const rest = this.#pattern.slice(this.#at, this.#at + 10);
    return refusedTokenizer(
      `the pattern ${JSON.stringify(this.#pattern)} is not understood at ${rest === '' ? 'its end' : JSON.stringify(rest)}`,
      'Write it with alternatives, classes, lookaround and repeated characters; a group is repeated by ? alone, or by * and + ' +
        'where it holds characters and classes of a fixed number',
    );
  }
}
