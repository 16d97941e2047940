import { parseArgs } from 'node:util';
import { GradCacheError } from '../errors.js';
import { nearest } from '../options/nearest.js';
import { reasonOf } from '../options/realms.js';

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
export const repeated = (flag: Flag): Flag => ({ ...flag, repeat: true });

/** Flags that every command has. */
export const COMMON_FLAGS = {
  json: onOff('print machine-readable JSON lines on standard output'),
  debug: onOff('show where in the program an error came from'),
  help: onOff('show this help'),
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

  texts(name: string): string[] {
    return (this.#values.get(name) as string[] | undefined) ?? [];
  }

  number(name: string): number | undefined {
    return this.#values.get(name) as number | undefined;
  }

  /** A whole number from 1. @throws UsageError for any other */
  count(name: string): number | undefined {
    const value = this.number(name);
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1))
      throw new UsageError(`--${name} is ${value}; a whole number from 1 is needed.`);
    return value;
  }

  /** @throws UsageError for what is none of the words that are accepted */
  oneOf<const T extends string>(name: string, accepted: readonly T[]): T | undefined {
    const given = this.text(name);
    const value = accepted.find((known) => known === given);
    if (value === undefined && given !== undefined)
      throw new UsageError(`--${name} is ${given}; ${accepted.join(' or ')} is needed.`);
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

  /** @throws UsageError that names all of some flags that are missing */
  requireAll(names: readonly string[], flags: Flags): void {
    const missing = names.filter((name) => this.get(name) === undefined);
    const [only, second] = missing;
    if (second !== undefined) {
      const named = missing.map((name) => `--${name} ${flags[name]?.value ?? ''}`.trim());
      throw new UsageError(`${named.slice(0, -1).join(', ')} and ${named.at(-1)} are needed.`);
    }
    if (only !== undefined) this.required(only, flags[only]!);
  }

  required(name: string, flag: Flag): string {
    const value = this.text(name);
    if (value === undefined) throw new UsageError(`--${name} ${flag.value ?? ''} is needed: ${flag.help}.`);
    return value;
  }
}

/**
 * Parses the arguments of one command.
 *
 * @param operands the names of what it takes beside flags; of a last one that ends with `…` there may be several
 * @throws UsageError for an unknown flag, a flag without its value, a value of the wrong kind, or other operands
 */
export function parseFlags(
  flags: Flags,
  args: readonly string[],
  operands: readonly string[] = [],
): Arguments {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: withOptional(flags, withNegatives(flags, args.slice(0, end))),
      options: Object.fromEntries(
        Object.entries(flags).map(([name, flag]) => [
          name,
          {
            type: flag.kind === 'switch' ? ('boolean' as const) : ('string' as const),
            multiple: flag.repeat ?? false,
            ...(flag.short && { short: flag.short }),
          },
        ]),
      ),
      allowPositionals: true,
      allowNegative: true,
    });
  } catch (error) {
    const [, unknown] = /^Unknown option '--(.+?)'/.exec(reasonOf(error)) ?? [];
    const near = unknown === undefined ? undefined : nearest(unknown, namesOf(flags));
    const hint = near === undefined ? '' : ` Did you mean --${near}?`;
    throw new UsageError(`${reasonOf(error).split('. To specify')[0]}.${hint}`.replace('..', '.'));
  }
  const { positionals } = parsed;
  const most = operands.at(-1)?.endsWith('…') ? Infinity : operands.length;
  const stray = positionals.length > most ? positionals[operands.length] : undefined;
  if (stray !== undefined) throw new UsageError(`${JSON.stringify(stray)} belongs to no flag.`);
  const missing = operands[positionals.length];
  if (missing !== undefined) throw new UsageError(`${missing.replace(/ …$/, '')} is needed.`);
  const values = new Map<string, unknown>();
  for (const [name, value] of Object.entries(parsed.values)) {
    const flag = flags[name] as Flag;
    values.set(
      name,
      Array.isArray(value) ? value.map((item) => convert(name, flag, item)) : convert(name, flag, value),
    );
  }
  return new Arguments(values, args.slice(end + 1), positionals);
}

/** Node takes `-10` for a flag: a number below 0 is joined to the flag that it follows. */
function withNegatives(flags: Flags, args: readonly string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const before = joined.at(-1) ?? '';
    const { kind } = flags[before.replace(/^--/, '')] ?? {};
    const takesNumber = before.startsWith('--') && (kind === 'number' || kind === 'numbers');
    if (takesNumber && /^-[\d.]/.test(arg)) joined.splice(-1, 1, `${before}=${arg}`);
    else joined.push(arg);
  }
  return joined;
}

/** Node knows no flag whose value may be left out: it gets one that no text can be. */
const NO_VALUE = { on: '\0on', off: '\0off' } as const;

/** Joins the flags whose value may be left out to what follows them. */
function withOptional(flags: Flags, args: readonly string[]): string[] {
  const joined: string[] = [];
  let waiting: string | undefined;
  for (const arg of args) {
    const value = arg.startsWith('-') && arg !== '-' ? undefined : arg;
    if (waiting !== undefined) joined.push(`${waiting}=${value ?? NO_VALUE.on}`);
    if (waiting === undefined || value === undefined) {
      const name = arg.replace(/^--(no-)?/, '');
      const isOptional = arg.startsWith('--') && Object.hasOwn(flags, name) && flags[name]?.optional === true;
      waiting = isOptional && arg === `--${name}` ? arg : undefined;
      if (isOptional && waiting === undefined) joined.push(`--${name}=${NO_VALUE.off}`);
      else if (waiting === undefined) joined.push(arg);
    } else waiting = undefined;
  }
  if (waiting !== undefined) joined.push(`${waiting}=${NO_VALUE.on}`);
  return joined;
}

/** All that can be written after the dashes. */
export function namesOf(flags: Flags): string[] {
  return Object.entries(flags).flatMap(([name, { kind, optional }]) =>
    kind === 'switch' || optional === true ? [name, `no-${name}`] : [name],
  );
}

function convert(name: string, { kind, words = [] }: Flag, value: unknown): unknown {
  if (value === NO_VALUE.on || value === NO_VALUE.off) return value === NO_VALUE.on;
  if (kind === 'switch' || kind === 'text') return value;
  const text = value as string;
  if (kind === 'list') return text.split(',').map((item) => item.trim());
  if (words.includes(text)) return text;
  if (kind === 'bytes') return parseBytes(name, text, words);
  if (kind === 'numbers') return text.split(',').map((item) => parseNumber(name, item));
  return parseNumber(name, text, words);
}

function parseNumber(name: string, text: string, words: readonly string[] = []): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number))
    throw new UsageError(
      `--${name} is ${JSON.stringify(text)}, not a number${words.map((word) => ` or ${word}`).join('')}.`,
    );
  return number;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

function parseBytes(name: string, text: string, words: readonly string[]): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  if (match === null)
    throw new UsageError(
      `--${name} is ${JSON.stringify(text)}; write bytes as 1073741824, 512MiB or 2GiB${words.map((word) => `, or ${word}`).join('')}.`,
    );
  return Math.round(Number(match[1]) * (UNITS[(match[2] as string).toUpperCase()] as number));
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
