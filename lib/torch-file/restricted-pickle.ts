import { types } from 'node:util';
import { show } from '../options/option-values.js';

/** A name of Python that a pickle refers to. It is never imported or called. */
export class Global {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}

  get path(): string {
    return `${this.module}.${this.name}`;
  }
}

/** A tuple of Python; lists are arrays, dicts are Maps. */
export class Tuple {
  constructor(readonly items: readonly unknown[]) {}
}

/** What a pickle may ask for. Each throws a PickleFault for what it does not know. */
export interface PickleRules {
  /** What a function of Python makes of its arguments. */
  call(what: Global, args: readonly unknown[]): unknown;
  /** The object that the pickle refers to. */
  persistent(id: unknown): unknown;
}

/** Why a pickle is not read: a clause. */
export class PickleFault extends Error {}

/** On the stack, where the items of a tuple, list or dict begin. */
const MARK = Symbol('mark');

/**
 * Reads a pickle of plain values: numbers, strings, tuples, lists, dicts, and what `rules` make of the names in it. Nothing of
 * Python runs: an operation that would build any other object is refused.
 *
 * @returns the value and where the pickle ends
 * @throws PickleFault
 */
export function readPickle(
  bytes: Uint8Array,
  begin: number,
  rules: PickleRules,
): { readonly value: unknown; readonly end: number } {
  return new Machine(bytes, begin, rules).run();
}

class Machine {
  readonly #view: DataView;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  #at: number;

  constructor(
    readonly bytes: Uint8Array,
    begin: number,
    readonly rules: PickleRules,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = begin;
  }

  run(): { value: unknown; end: number } {
    for (;;) {
      const code = String.fromCharCode(this.#byte());
      if (code === '.') return { value: this.#pop(), end: this.#at };
      this.#do(code);
    }
  }

  #do(code: string): void {
    const stack = this.#stack;
    switch (code) {
      case '\x80': // PROTO
        this.#byte();
        return;
      case '\x95': // FRAME
        this.#skip(8);
        return;
      case '(':
        stack.push(MARK);
        return;
      case 'N':
        stack.push(null);
        return;
      case '\x88':
        stack.push(true);
        return;
      case '\x89':
        stack.push(false);
        return;
      case 'K':
        stack.push(this.#byte());
        return;
      case 'M':
        stack.push(this.#view.getUint16(this.#skip(2), true));
        return;
      case 'J':
        stack.push(this.#view.getInt32(this.#skip(4), true));
        return;
      case 'G':
        stack.push(this.#view.getFloat64(this.#skip(8)));
        return;
      case '\x8a': // LONG1
        stack.push(this.#long(this.#byte()));
        return;
      case 'X': // BINUNICODE
        stack.push(this.#text(this.#view.getUint32(this.#skip(4), true)));
        return;
      case '\x8c': // SHORT_BINUNICODE
        stack.push(this.#text(this.#byte()));
        return;
      case 'U': // SHORT_BINSTRING, of Python 2
        stack.push(this.#text(this.#byte()));
        return;
      case ')':
        stack.push(new Tuple([]));
        return;
      case ']':
        stack.push([]);
        return;
      case '}':
        stack.push(new Map());
        return;
      case '\x85':
      case '\x86':
      case '\x87':
        stack.push(new Tuple(this.#take(code.charCodeAt(0) - 0x84)));
        return;
      case 't':
        stack.push(new Tuple(this.#marked()));
        return;
      case 'a':
        this.#append([this.#pop()]);
        return;
      case 'e':
        this.#append(this.#marked());
        return;
      case 's':
        this.#set(this.#take(2));
        return;
      case 'u':
        this.#set(this.#marked());
        return;
      case 'q': // BINPUT
        this.#memo.set(this.#byte(), this.#top());
        return;
      case 'r': // LONG_BINPUT
        this.#memo.set(this.#view.getUint32(this.#skip(4), true), this.#top());
        return;
      case '\x94': // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 'h': // BINGET
        this.#recall(this.#byte());
        return;
      case 'j': // LONG_BINGET
        this.#recall(this.#view.getUint32(this.#skip(4), true));
        return;
      case 'c': // GLOBAL
        stack.push(new Global(this.#line(), this.#line()));
        return;
      case '\x93': {
        // STACK_GLOBAL
        const [module, name] = this.#take(2);
        if (typeof module !== 'string' || typeof name !== 'string') throw new PickleFault('it is damaged');
        stack.push(new Global(module, name));
        return;
      }
      case 'Q': // BINPERSID
        stack.push(this.rules.persistent(this.#pop()));
        return;
      case 'R': // REDUCE
        this.#reduce();
        return;
      case 'b': // BUILD
        this.#build();
        return;
      default:
        throw new PickleFault(
          `it has the operation ${show(code)} of a pickle, which a file of tensors does not need`,
        );
    }
  }

  #reduce(): void {
    const [what, args] = this.#take(2);
    if (!(what instanceof Global) || !(args instanceof Tuple))
      throw new PickleFault('it calls what is no function of a module');
    this.#stack.push(this.rules.call(what, args.items));
  }

  /** Attributes of a dict, such as the versions of modules, change no tensor. Nothing else can have any. */
  #build(): void {
    this.#pop();
    if (!types.isMap(this.#top())) throw new PickleFault('it sets attributes of an object');
  }

  #append(items: readonly unknown[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw new PickleFault('it appends to what is no list');
    for (const item of items) list.push(item);
  }

  #set(items: readonly unknown[]): void {
    const map = this.#top();
    if (!types.isMap(map) || items.length % 2 !== 0) throw new PickleFault('it sets keys of what is no dict');
    for (let place = 0; place < items.length; place += 2) {
      const key = items[place];
      if (typeof key !== 'string' && typeof key !== 'number')
        throw new PickleFault('it has a dict whose keys are neither strings nor numbers');
      map.set(key, items[place + 1]);
    }
  }

  #recall(place: number): void {
    if (!this.#memo.has(place)) throw new PickleFault(`it recalls object ${place}, which it did not keep`);
    this.#stack.push(this.#memo.get(place));
  }

  #top(): unknown {
    const top = this.#stack.at(-1);
    if (top === undefined || top === MARK) throw new PickleFault('it is damaged');
    return top;
  }

  #pop(): unknown {
    const top = this.#top();
    this.#stack.pop();
    return top;
  }

  #take(count: number): unknown[] {
    const taken = this.#stack.splice(-count);
    if (taken.length < count || taken.includes(MARK)) throw new PickleFault('it is damaged');
    return taken;
  }

  #marked(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw new PickleFault('it is damaged');
    const items = this.#stack.splice(mark + 1);
    this.#stack.pop();
    return items;
  }

  #long(length: number): number {
    if (length > 8) return this.#huge(length);
    let value = 0n;
    const begin = this.#skip(length);
    for (let place = length - 1; place >= 0; place--)
      value = (value << 8n) | BigInt(this.bytes[begin + place]!);
    const number = Number(BigInt.asIntN(8 * length, value));
    if (!Number.isSafeInteger(number))
      throw new PickleFault(`it has the number ${number}, which is too large`);
    return number;
  }

  /** No number of a checkpoint is as long, but the one at the beginning of files from before PyTorch 1.6. */
  #huge(length: number): number {
    this.#skip(length);
    return NaN;
  }

  #text(length: number): string {
    const begin = this.#skip(length);
    return new TextDecoder().decode(this.bytes.subarray(begin, begin + length));
  }

  #line(): string {
    const end = this.bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw new PickleFault('it is cut off');
    const text = new TextDecoder().decode(this.bytes.subarray(this.#at, end));
    this.#at = end + 1;
    return text;
  }

  #byte(): number {
    return this.bytes[this.#skip(1)]!;
  }

  /** Where the next `length` bytes begin. */
  #skip(length: number): number {
    const begin = this.#at;
    if (begin + length > this.bytes.length) throw new PickleFault('it is cut off');
    this.#at = begin + length;
    return begin;
  }
}
