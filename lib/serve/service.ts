import type { TokenBatch } from '../tokenizer/tokenizer.js';
import type { Batcher, Representation } from './batcher.js';
import { refuse, RefusedRequest, refusalOf } from './refusal.js';
import type { ServerMetrics } from './server-metrics.js';

/** What the routes of a server share. */
export interface Service {
  readonly batcher: Batcher;
  readonly metrics: ServerMetrics;
  /** What clients call the model. */
  readonly name: string;
  /** Whether a text that is too long is cut where the request does not say. */
  readonly truncate: boolean;
  /** Tokens that windows of a document share; undefined: documents are not read in windows. */
  readonly overlap: number | undefined;
  /** The most texts of a request. */
  readonly maxTexts: number;
  /** The most texts that may have come and not be done. */
  readonly maxQueue: number;
  /** When the server began, in seconds since 1970. */
  readonly started: number;
}

/** Texts, or pairs of texts, of a request. */
export interface Inputs<Input> {
  readonly list: readonly Input[];
  /** What the body calls the list, for messages: `inputs`. */
  readonly property: string;
  /** Whether the body has one alone, and no list. */
  readonly single: boolean;
  tokenize(part: readonly Input[]): Promise<TokenBatch>;
  readonly truncate: boolean;
  /** The most tokens of one. */
  readonly maxLength: number;
  /** What to do about one that is too long. */
  readonly wayOut: string;
}

/** What the model gives for the inputs of a request. */
export interface Encoded {
  readonly rows: readonly Representation[];
  /** Tokens of all inputs, special ones included. */
  readonly tokens: number;
}

/** @throws RefusedRequest 422 for an input that cannot be taken, 429 where too much waits */
export async function encodeInputs<Input>(
  { batcher, metrics, maxQueue }: Service,
  inputs: Inputs<Input>,
  signal: AbortSignal,
): Promise<Encoded> {
  const { list } = inputs;
  if (batcher.texts + list.length > maxQueue)
    refuse({
      status: 429,
      code: 'overloaded',
      message: `${batcher.texts} texts wait, and this server takes ${maxQueue}: try again later.`,
      headers: { 'Retry-After': String(Math.min(60, Math.max(1, Math.ceil(batcher.wait)))) },
    });
  let tokens = 0;
  const rows = await batcher.encode(
    list.length,
    async (begin, end) => {
      const batch = await tokenized(inputs, begin, end);
      metrics.truncated.add(batch.truncated);
      tokens += batch.ids.length;
      return batch;
    },
    signal,
  );
  metrics.texts.add(list.length);
  metrics.tokens.add(tokens);
  return { rows, tokens };
}

/** Tokens of a part of the inputs. */
function tokenized<Input>(inputs: Inputs<Input>, begin: number, end: number): Promise<TokenBatch> {
  return takenTogether(inputs, begin, end, async (part, place) => {
    const batch = await inputs.tokenize(part);
    return inputs.truncate || batch.truncated === 0 ? batch : refuse(tooLong(inputs, place));
  });
}

/**
 * What `take` makes of a part of the inputs, which begins at `begin`. Which of them is at fault is found by taking each alone.
 *
 * @throws RefusedRequest that names the input, for one that cannot be taken
 */
export async function takenTogether<Input, Taken>(
  inputs: Pick<Inputs<Input>, 'list' | 'property' | 'single'>,
  begin: number,
  end: number,
  take: (part: readonly Input[], begin: number) => Promise<Taken>,
): Promise<Taken> {
  try {
    return await take(inputs.list.slice(begin, end), begin);
  } catch (error) {
    if (end - begin === 1) throw named(error, inputs, begin);
  }
  for (let place = begin; place < end; place++) await takenTogether(inputs, place, place + 1, take);
  throw new Error('a list of inputs was refused of which each alone is good');
}

function tooLong<Input>(inputs: Inputs<Input>, place: number) {
  return {
    status: 422,
    code: 'too_long',
    message: `${nameOf(inputs, place)} has more than ${inputs.maxLength} tokens, the most that the model takes. ${inputs.wayOut}`,
    property: nameOf(inputs, place),
  } as const;
}

const nameOf = <Input>(
  { property, single }: Pick<Inputs<Input>, 'property' | 'single'>,
  place: number,
): string => (single ? property : `${property}[${place}]`);

/** An error with the name of its input. The tokenizer was given it alone, as text 0. */
function named<Input>(
  error: unknown,
  inputs: Pick<Inputs<Input>, 'property' | 'single'>,
  place: number,
): unknown {
  if (error instanceof RefusedRequest) return error;
  const refusal = refusalOf(error);
  if (refusal.status !== 422) return error;
  const property = nameOf(inputs, place);
  const message = `${property}: ${refusal.message}`.replace(/: Text 0( \(.*\))? /, ' ');
  return new RefusedRequest({ ...refusal, message, property });
}
