/** Where a program writes what people read: standard error, so that standard output holds results alone. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Without a terminal, progress is written as lines, no more often than this. */
const SECONDS_BETWEEN_LINES = 2;
/** A terminal is redrawn no more often than this. */
const SECONDS_BETWEEN_DRAWS = 0.08;

/**
 * A progress line that is drawn over itself on a terminal, and written now and then as a plain line elsewhere (a log
 * file, a build server).
 */
export class ProgressLine {
  #drawn = false;
  #last = -Infinity;

  constructor(readonly screen: Screen = process.stderr) {}

  /**
   * Shows a text in place of the one before.
   *
   * @param options `passing`: only of interest at this moment, never written as a plain line; `always`: shown however
   * short a time ago the last one was
   */
  show(text: string, options: { passing?: boolean; always?: boolean } = {}): void {
    const now = performance.now() / 1000;
    const tty = this.screen.isTTY === true;
    if (!tty && options.passing) return;
    const wait = tty ? SECONDS_BETWEEN_DRAWS : SECONDS_BETWEEN_LINES;
    if (!options.always && now - this.#last < wait) return;
    this.#last = now;
    if (!tty) {
      this.screen.write(`${text}\n`);
      return;
    }
    const width = Math.max(20, (this.screen.columns ?? 80) - 1);
    this.screen.write(`\r\x1b[2K${text.slice(0, width)}`);
    this.#drawn = true;
  }

  /** Writes a line that stays. */
  say(text: string): void {
    this.clear();
    this.screen.write(`${text}\n`);
  }

  /** Takes the progress line away. */
  clear(): void {
    if (this.#drawn) this.screen.write('\r\x1b[2K');
    this.#drawn = false;
  }
}

/** `1.2 GiB`, `340 MiB`. */
export function formatBytes(bytes: number): string {
  const gibibytes = bytes / 1024 ** 3;
  return gibibytes >= 1 ? `${gibibytes.toFixed(1)} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`;
}

/** `2 h 05 min`, `3 min 20 s`, `12 s`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min ${two(whole % 60)} s` : `${whole} s`;
}

/** A number with four significant digits: `0.6931`, `12.35`, `98765`, `2e-5`, `1.234e-7`. */
export function formatFigure(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e4) return String(Math.round(value));
  if (size >= 1e-3) return value.toPrecision(4);
  const [digits, exponent] = value.toExponential(3).split('e') as [string, string?];
  return exponent === undefined || value === 0 ? String(value) : `${Number(digits)}e${Number(exponent)}`;
}

/** The same of a number that someone chose, without zeros at its end: `0.01`, `2e-5`. */
export function formatRate(value: number): string {
  const figure = formatFigure(value);
  return figure.includes('e') ? figure : String(Number(figure));
}

/** `940`, `12.3k`, `1.2M`. */
export function formatCount(count: number): string {
  if (count < 1000) return count < 10 ? count.toFixed(1) : String(Math.round(count));
  return count < 1e6 ? `${(count / 1e3).toFixed(1)}k` : `${(count / 1e6).toFixed(1)}M`;
}
