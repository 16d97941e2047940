import type { CrossEncoder } from '../encoders/cross-encoder.js';
import { bestOfWindows } from '../encoders/long-texts.js';
import { throwIfAborted } from '../options/abort.js';
import type { TextPair } from '../tokenizer/tokenizer.js';
import { joinedTexts, textsOf, type TokenText } from './joined-texts.js';
import { refuse } from './refusal.js';
import { encodeInputs, takenTogether, type Inputs, type Service } from './service.js';

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
  const [rows, counts]: [TokenText[], number[]] = [[], []];
  for (let begin = 0; begin < pairs.list.length; begin += PIECE) {
    throwIfAborted(signal);
    const read = await takenTogether(pairs, begin, Math.min(begin + PIECE, pairs.list.length), (part) =>
      model.tokenizeWindows(part, { overlap }),
    );
    for (const row of textsOf(read.batch)) rows.push(row);
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
    tokenize: async (part: readonly TokenText[]) => joinedTexts(part),
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
