import { nearest } from '../options/nearest.js';
import { show } from '../options/option-values.js';
import { Arguments, hasOff, namesOf, UsageError, type Flag, type Flags } from './flags.js';

/** What a command takes beside its flags, what it cannot do without, and what it says otherwise than others. */
interface Needs {
  /** The names of what it takes beside flags; of a last one that ends with `…` there may be several. */
  readonly operands?: readonly string[] | undefined;
  /** Flags that every call needs, or those that a call with these needs. */
  readonly needed?: readonly string[] | ((args: Arguments) => readonly string[]) | undefined;
  /** Flags that are looked for in vain, because something else says it. */
  readonly elsewhere?: Readonly<Record<string, string>> | undefined;
}

/** A flag as it stands in a call. */
interface Given {
  readonly name: string;
  /** As it was typed: `--no-shuffle`, `-o`. */
  readonly typed: string;
  readonly value: string | boolean;
}

/**
 * Parses the arguments of one command.
 *
 * @throws UsageError for an unknown flag, one without its value or given twice, a value of the wrong kind, an operand too many,
 * and all that is missing
 */
export function parseFlags(
  flags: Flags,
  args: readonly string[],
  { operands = [], needed = [], elsewhere = {} }: Needs = {},
): Arguments {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const { given, others } = readArguments(flags, args.slice(0, end), elsewhere);
  const values = new Map<string, unknown>();
  for (const [name, several] of byName(given)) {
    const flag = flags[name]!;
    const converted = several.map(({ typed, value }) => convert(typed, flag, value));
    if (flag.repeat !== true) refuseSeveral(several);
    values.set(name, flag.repeat === true ? converted : converted[0]);
  }
  const most = operands.at(-1)?.endsWith('…') ? Infinity : operands.length;
  const stray = others.length > most ? others[operands.length] : undefined;
  if (stray !== undefined) throw new UsageError(`${JSON.stringify(stray)} belongs to no flag.`);
  const empty = others.indexOf('');
  if (empty >= 0)
    throw new UsageError(`${nameOf(operands, empty)} is ""; a name that is not empty is needed.`);
  const parsed = new Arguments(values, args.slice(end + 1), others);
  const missing = operands.slice(others.length).map((_, place) => nameOf(operands, others.length + place));
  parsed.requireAll(typeof needed === 'function' ? needed(parsed) : needed, flags, missing);
  return parsed;
}

/** What the operand at a place is called. */
function nameOf(operands: readonly string[], place: number): string {
  return operands[Math.min(place, operands.length - 1)]!.replace(/ …$/, '');
}

/** Takes the flags apart from what is none. @throws UsageError */
function readArguments(
  flags: Flags,
  args: readonly string[],
  elsewhere: Readonly<Record<string, string>>,
): { given: Given[]; others: string[] } {
  const given: Given[] = [];
  const others: string[] = [];
  const unknown: string[] = [];
  for (let place = 0; place < args.length; place++) {
    const arg = args[place]!;
    if (arg === '-' || !arg.startsWith('-')) {
      others.push(arg);
      continue;
    }
    const { typed, joined } = partsOf(arg);
    const found = find(flags, typed);
    if (found === undefined) {
      unknown.push(typed);
      continue;
    }
    const { name, flag, isOff } = found;
    const isSwitch = flag.kind === 'switch' || isOff;
    if (isSwitch && joined !== undefined)
      throw new UsageError(`${typed} is ${show(joined)}; it takes no value.`);
    const next = isSwitch ? undefined : valueIn(flag, args[place + 1]);
    if (joined === undefined && next !== undefined) place++;
    const value = joined ?? next ?? (isSwitch || flag.optional === true ? !isOff : undefined);
    if (value === undefined) throw noValue(typed, flag, args[place + 1]);
    given.push({ name, typed, value });
  }
  if (unknown.length > 0)
    throw new UsageError(
      unknown.map((typed) => `${typed} is not a flag${hint(flags, typed, elsewhere)}`).join(' '),
    );
  return { given, others };
}

/** `--name=value`, and `-nvalue`. */
function partsOf(arg: string): { typed: string; joined: string | undefined } {
  if (!arg.startsWith('--'))
    return { typed: arg.slice(0, 2), joined: arg.length > 2 ? arg.slice(2).replace(/^=/, '') : undefined };
  const at = arg.indexOf('=');
  return at < 0 ? { typed: arg, joined: undefined } : { typed: arg.slice(0, at), joined: arg.slice(at + 1) };
}

function find(flags: Flags, typed: string): { name: string; flag: Flag; isOff: boolean } | undefined {
  if (!typed.startsWith('--')) {
    const [name, flag] = Object.entries(flags).find(([, { short }]) => `-${short}` === typed) ?? [];
    return name === undefined || flag === undefined ? undefined : { name, flag, isOff: false };
  }
  const own = (name: string): Flag | undefined => (Object.hasOwn(flags, name) ? flags[name] : undefined);
  const name = typed.slice(2);
  const flag = own(name);
  if (flag !== undefined) return { name, flag, isOff: false };
  const turned = name.startsWith('no-') ? name.slice(3) : '';
  const off = own(turned);
  return off !== undefined && hasOff(off) ? { name: turned, flag: off, isOff: true } : undefined;
}

/** The value that follows a flag; undefined where the next argument is none. */
function valueIn({ kind }: Flag, next: string | undefined): string | undefined {
  if (next === undefined || next === '-' || !next.startsWith('-')) return next;
  const takesNumber = kind === 'number' || kind === 'numbers';
  return takesNumber && /^-[\d.]/.test(next) ? next : undefined;
}

function noValue(typed: string, { value = 'N' }: Flag, next: string | undefined): UsageError {
  const joined =
    next === undefined || next.startsWith('--')
      ? ''
      : ` One that begins with - is joined to it: ${typed}=${next}.`;
  return new UsageError(`${typed} has no value; ${value} is needed.${joined}`);
}

function hint(flags: Flags, typed: string, elsewhere: Readonly<Record<string, string>>): string {
  const name = typed.replace(/^-+/, '');
  if (Object.hasOwn(elsewhere, name)) return `: ${elsewhere[name]}.`;
  const near = nearest(name, namesOf(flags));
  return near === undefined ? '.' : `; did you mean --${near}?`;
}

function byName(given: readonly Given[]): Map<string, Given[]> {
  const found = new Map<string, Given[]>();
  for (const each of given) found.set(each.name, [...(found.get(each.name) ?? []), each]);
  return found;
}

/** @throws UsageError for a flag that is given twice: which of the two was meant is not known */
function refuseSeveral([first, second]: readonly Given[]): void {
  if (first === undefined || second === undefined) return;
  if (first.typed !== second.typed)
    throw new UsageError(`${first.typed} and ${second.typed} exclude each other: give one of them.`);
  const values = typeof first.value === 'string' ? `, as ${show(first.value)} and ${show(second.value)}` : '';
  throw new UsageError(`${first.typed} is given twice${values}: give it once.`);
}

function convert(typed: string, { kind, words = [] }: Flag, value: string | boolean): unknown {
  if (typeof value === 'boolean' || kind === 'text' || kind === 'switch') return value;
  if (kind === 'list') return value.split(',').map((item) => item.trim());
  if (words.includes(value)) return value;
  if (kind === 'bytes') return parseBytes(typed, value, words);
  if (kind === 'numbers') return value.split(',').map((item) => parseNumber(typed, item));
  return parseNumber(typed, value, words);
}

function parseNumber(typed: string, text: string, words: readonly string[] = []): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number))
    throw new UsageError(
      `${typed} is ${JSON.stringify(text)}, not a number${words.map((word) => ` or ${word}`).join('')}.`,
    );
  return number;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

function parseBytes(typed: string, text: string, words: readonly string[]): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  if (match === null)
    throw new UsageError(
      `${typed} is ${JSON.stringify(text)}; write bytes as 1073741824, 512MiB or 2GiB${words.map((word) => `, or ${word}`).join('')}.`,
    );
  return Math.round(Number(match[1]) * (UNITS[(match[2] as string).toUpperCase()] as number));
}
