import type { CrossEncoder } from '../encoders/cross-encoder.js';
import { bestOfWindows } from '../encoders/long-texts.js';
import { throwIfAborted } from '../options/abort.js';
import type { TextPair, TokenBatch, WindowBatch } from '../tokenizer/tokenizer.js';
import { refuse } from './refusal.js';
import { encodeInputs, named, type Inputs, type Service } from './service.js';

/** Pairs that are tokenized at a time: those of other requests come in between. */
const PIECE = 32;

/**
 * The logits of pairs whose documents are read in windows where they are too long: the greatest of a pair's windows. A window counts as a
 * text in the limits of the queue, and in the metrics.
 *
 * @throws RefusedRequest 422 for a pair that cannot be taken, or too many windows; 429 where too much waits
 */
export async function encodeWindows(
  model: CrossEncoder,
  service: Service,
  pairs: Pick<Inputs<TextPair>, 'list' | 'property' | 'single'>,
  signal: AbortSignal,
): Promise<Float64Array> {
  const { overlap = 0, maxQueue } = service;
  const [rows, counts]: [TokenBatch[], number[]] = [[], []];
  for (let begin = 0; begin < pairs.list.length; begin += PIECE) {
    throwIfAborted(signal);
    const read = await windowsOf(pairs, begin, Math.min(begin + PIECE, pairs.list.length), (part) =>
      model.tokenizeWindows(part, { overlap }),
    );
    rows.push(...rowsOf(read.batch));
    counts.push(...read.counts);
    if (rows.length > maxQueue)
      refuse({
        status: 422,
        code: 'too_long',
        message: `${pairs.property} have more than ${maxQueue} windows, the most texts that this server takes: send fewer.`,
        property: pairs.property,
      });
  }
  const windows = {
    ...pairs,
    list: rows,
    tokenize: async (part: readonly TokenBatch[]) => joined(part),
    truncate: true,
    maxLength: model.maxLength,
    wayOut: '',
  };
  const { rows: logits } = await encodeInputs(service, windows, signal);
  return bestOfWindows(
    Float64Array.from(logits, ([logit]) => logit!),
    Int32Array.from(counts),
  );
}

/** The windows of a part of the pairs. Which of them is at fault is found by taking each alone. */
async function windowsOf(
  pairs: Pick<Inputs<TextPair>, 'list' | 'property' | 'single'>,
  begin: number,
  end: number,
  tokenize: (part: readonly TextPair[]) => Promise<WindowBatch>,
): Promise<WindowBatch> {
  try {
    return await tokenize(pairs.list.slice(begin, end));
  } catch (error) {
    if (end - begin === 1) throw named(error, pairs, begin);
  }
  for (let place = begin; place < end; place++) await windowsOf(pairs, place, place + 1, tokenize);
  throw new Error('a list of pairs was refused of which each alone is good');
}

/** Each row as a batch of its own. */
function rowsOf({ ids, offsets, types }: TokenBatch): TokenBatch[] {
  return Array.from({ length: offsets.length - 1 }, (_, row) => {
    const [from, to] = [offsets[row]!, offsets[row + 1]!];
    return {
      ids: ids.subarray(from, to),
      ...(types && { types: types.subarray(from, to) }),
      offsets: Int32Array.of(0, to - from),
      truncated: 0,
    };
  });
}

function joined(rows: readonly TokenBatch[]): TokenBatch {
  const offsets = new Int32Array(rows.length + 1);
  for (const [row, { ids }] of rows.entries()) offsets[row + 1] = offsets[row]! + ids.length;
  const together = (kind: 'ids' | 'types'): Int32Array => {
    const all = new Int32Array(offsets[rows.length]!);
    for (const [row, batch] of rows.entries()) all.set(batch[kind]!, offsets[row]);
    return all;
  };
  const typed = rows[0]?.types !== undefined;
  return { ids: together('ids'), ...(typed && { types: together('types') }), offsets, truncated: 0 };
}
