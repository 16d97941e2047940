import { GradCacheError } from '../errors.js';
import { didYouMean } from '../options/nearest.js';
import { describeBounds, isNumber, type Bounds } from '../options/option-values.js';

/** A mistake in how the command was called: exit code 2, and a hint at `--help`. */
export class UsageError extends GradCacheError {
  constructor(message: string) {
    super('INPUT', message);
  }
}

/** What a flag takes, and what it does. */
export interface Flag {
  /** `switch` takes nothing (and `--no-NAME` turns it off), `list` takes `a,b,c`, `numbers` takes `1,2`, `bytes` takes `512MiB` or a number. */
  readonly kind: 'text' | 'number' | 'numbers' | 'bytes' | 'list' | 'switch';
  /** Words that a flag of the kind `bytes` or `number` takes as well. */
  readonly words?: readonly string[];
  /** All that it takes, for shells to complete. */
  readonly choices?: readonly string[];
  /** What its value is called in the help. */
  readonly value?: string;
  /** One line or several. */
  readonly help: string;
  /** A switch that is on unless turned off: the help shows it as `--no-NAME`. */
  readonly onByDefault?: boolean;
  /** Left out of the help: another name of a flag that is in it. */
  readonly hidden?: boolean;
  /** A text that may be left out: the flag alone is true, and `--no-NAME` false. */
  readonly optional?: boolean;
  /** What it says by default can be turned off: `--no-NAME` is false, and the flag itself has a value. */
  readonly canBeOff?: boolean;
  /** Another name of one letter, after one dash. */
  readonly short?: string;
  /** May be given several times; its value is then a list. */
  readonly repeat?: boolean;
  /** The setting of a configuration file that it sets, as `loss.scale`. */
  readonly sets?: string | undefined;
}

/** Flags by name, without the dashes. */
export type Flags = Readonly<Record<string, Flag>>;

/** Makes flags of a kind. `value` is what the help calls what they take. */
const taking =
  (kind: Flag['kind']) =>
  (value: string, help: string, sets?: string): Flag => ({ kind, value, help, sets });

export const text = taking('text');
export const list = taking('list');
export const number = taking('number');
export const numbers = taking('numbers');
export const bytes = taking('bytes');
export const onOff = (help: string, sets?: string): Flag => ({ kind: 'switch', help, sets });
/** A switch that is on; the help is that of turning it off. */
export const offSwitch = (help: string, sets?: string): Flag => ({ ...onOff(help, sets), onByDefault: true });
export const optional = (flag: Flag): Flag => ({ ...flag, optional: true });
export const canBeOff = (flag: Flag): Flag => ({ ...flag, canBeOff: true });
export const repeated = (flag: Flag): Flag => ({ ...flag, repeat: true });

/** Flags that every command has. */
export const COMMON_FLAGS = {
  json: onOff('print machine-readable JSON lines on standard output'),
  debug: onOff('show where in the program an error came from'),
  help: { ...onOff('show this help'), short: 'h' },
} as const satisfies Flags;

/** The values of flags that were given, converted by kind. */
export class Arguments {
  readonly #values: ReadonlyMap<string, unknown>;

  /**
   * @param rest what came after `--`
   * @param operands what is no flag and belongs to none
   */
  constructor(
    values: ReadonlyMap<string, unknown>,
    readonly rest: readonly string[] = [],
    readonly operands: readonly string[] = [],
  ) {
    this.#values = values;
  }

  /** The same with other values of some flags. */
  with(others: ReadonlyMap<string, unknown>): Arguments {
    return new Arguments(new Map([...this.#values, ...others]), this.rest, this.operands);
  }

  get(name: string): unknown {
    return this.#values.get(name);
  }

  text(name: string): string | undefined {
    return this.#values.get(name) as string | undefined;
  }

  /** A text that says something. @throws UsageError for an empty one */
  words(name: string): string | undefined {
    const value = this.text(name);
    if (value === '') throw new UsageError(`--${name} is ""; a text that is not empty is needed.`);
    return value;
  }

  texts(name: string): string[] {
    return (this.#values.get(name) as string[] | undefined) ?? [];
  }

  number(name: string): number | undefined {
    return this.#values.get(name) as number | undefined;
  }

  /** A whole number from 1. @throws UsageError for any other */
  count(name: string): number | undefined {
    return this.within(name, { from: 1, whole: true });
  }

  /** @throws UsageError for a number out of bounds */
  within(name: string, bounds: Bounds): number | undefined {
    const value = this.number(name);
    if (value === undefined || isNumber(value, bounds)) return value;
    throw new UsageError(`--${name} is ${String(value)}; ${describeBounds(bounds)} is needed.`);
  }

  /** @throws UsageError for what is none of the words that are accepted */
  oneOf<const T extends string>(name: string, accepted: readonly T[]): T | undefined {
    const given = this.text(name);
    const value = accepted.find((known) => known === given);
    if (value === undefined && given !== undefined)
      throw new UsageError(
        `--${name} is ${given === '' ? '""' : given}; ${accepted.join(' or ')} is needed.${didYouMean(given, accepted)}`,
      );
    return value;
  }

  /** What `--device` names; `auto` where it is not given. @throws UsageError for what is no device */
  device(): string {
    const device = this.text('device') ?? 'auto';
    if (/^(auto|cpu|cuda(:\d+)?)$/.test(device)) return device;
    throw new UsageError(`--device is ${device}; auto, cpu, cuda or cuda:N is needed.`);
  }

  list(name: string): string[] | undefined {
    return this.#values.get(name) as string[] | undefined;
  }

  on(name: string): boolean {
    return this.#values.get(name) === true;
  }

  /** A flag as it was given, with its dashes: `--no-NAME` for a switch that was turned off. */
  typed(name: string): string {
    return this.get(name) === false ? `--no-${name}` : `--${name}`;
  }

  /**
   * @param operands what else is missing
   * @throws UsageError that names all that is missing
   */
  requireAll(names: readonly string[], flags: Flags, operands: readonly string[] = []): void {
    const empty = names.find((name) => [this.get(name)].flat().includes(''));
    if (empty !== undefined)
      throw new UsageError(`--${empty} is ""; ${flags[empty]?.value ?? 'a value'} is needed.`);
    const missing = names.filter((name) => (this.get(name) ?? false) === false);
    const [only] = missing;
    if (missing.length === 1 && only !== undefined && operands.length === 0)
      throw needsFlag(only, flags[only]!);
    const named = [...operands, ...missing.map((name) => flagWithValue(name, flags[name]!))];
    if (named.length > 0) throw new UsageError(`${areNeeded(named)}.`);
  }

  required(name: string, flag: Flag): string {
    const value = this.text(name);
    if (value === undefined) throw needsFlag(name, flag);
    return value;
  }
}

/** `A, B and C are needed`. */
export function areNeeded(names: readonly string[]): string {
  if (names.length < 2) return `${names.join()} is needed`;
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)} are needed`;
}

function flagWithValue(name: string, { value = '' }: Flag): string {
  return `--${name} ${value}`.trim();
}

function needsFlag(name: string, flag: Flag): UsageError {
  return new UsageError(`${flagWithValue(name, flag)} is needed: ${flag.help}.`);
}

/** All that can be written after the dashes. */
export function namesOf(flags: Flags): string[] {
  return Object.entries(flags).flatMap(([name, flag]) => (hasOff(flag) ? [name, `no-${name}`] : [name]));
}

/** Whether `--no-NAME` turns it off. */
export function hasOff({ kind, optional, canBeOff }: Flag): boolean {
  return kind === 'switch' || optional === true || canBeOff === true;
}

/** The help of a command: what it does, how it is called, its flags by section, examples. */
export function formatHelp(help: {
  readonly usage: string;
  readonly about: string;
  readonly sections: Readonly<Record<string, Flags>>;
  readonly examples: readonly string[];
}): string {
  const lines = [`Usage: ${help.usage}`, '', help.about];
  for (const [title, flags] of Object.entries(help.sections)) {
    lines.push('', `${title}:`);
    for (const [name, flag] of Object.entries(flags)) {
      if (flag.hidden === true) continue;
      const short = flag.short === undefined ? '' : `-${flag.short}, `;
      const left = `  ${short}--${flag.onByDefault ? 'no-' : ''}${name}${takenBy(flag)}`;
      // A flag too long for its column has its text on the next line.
      const [first, ...more] = flag.help.split('\n').flatMap(wrapped) as [string, ...string[]];
      if (left.length > 28) lines.push(left, ' '.repeat(30) + first);
      else lines.push(left.padEnd(30) + first);
      for (const line of more) lines.push(' '.repeat(30) + line);
    }
  }
  if (help.examples.length > 0)
    lines.push('', 'Examples:', ...help.examples.map((example) => `  ${example}`));
  return lines.join('\n');
}

/** What the help shows behind the name of a flag. */
function takenBy({ kind, value = 'N', optional }: Flag): string {
  if (kind === 'switch') return '';
  return optional === true ? ` [${value}]` : ` ${value}`;
}

/** Columns of the help of a flag, beside its name. */
const HELP_WIDTH = 98;

/** A line of help, broken between words where it is too long. */
function wrapped(line: string): string[] {
  const lines: string[] = [];
  let begin = '';
  for (const word of line.split(' ')) {
    if (begin !== '' && begin.length + 1 + word.length > HELP_WIDTH) {
      lines.push(begin);
      begin = word;
    } else begin = begin === '' ? word : `${begin} ${word}`;
  }
  return [...lines, begin];
}
