import type { CrossEncoder } from '../encoders/cross-encoder.js';
import { keepBest } from '../encoders/long-texts.js';
import { throwIfAborted } from '../options/abort.js';
import type { TextPair } from '../tokenizer/tokenizer.js';
import { joinedTexts, textsOf, type TokenText } from './joined-texts.js';
import { refuse } from './refusal.js';
import { encodeInputs, takenTogether, type Inputs, type Service } from './service.js';

/** Pairs that are tokenized at a time: those of other requests come in between. */
const PIECE = 32;

/** Tokens of windows that are made at a time. */
const PIECE_TOKENS = 65_536;

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
  const [rows, owners]: [TokenText[], number[]] = [[], []];
  for (let begin = 0; begin < pairs.list.length; begin += PIECE) {
    throwIfAborted(signal);
    const room = maxQueue - rows.length;
    const read = await takenTogether(pairs, begin, Math.min(begin + PIECE, pairs.list.length), async (part) =>
      windowsOf(model, part, overlap, room),
    );
    for (const { window, text } of read) {
      rows.push(window);
      owners.push(begin + text);
    }
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
  const best = new Float64Array(pairs.list.length).fill(-Infinity);
  keepBest(
    best,
    logits.map(([logit]) => logit!),
    owners,
  );
  return best;
}

/** The windows of some pairs, of more than `most` only so many that this shows. */
async function windowsOf(
  model: CrossEncoder,
  pairs: readonly TextPair[],
  overlap: number,
  most: number,
): Promise<{ window: TokenText; text: number }[]> {
  const found: { window: TokenText; text: number }[] = [];
  for await (const { batch, texts } of model.windowPieces(pairs, { overlap }, PIECE_TOKENS)) {
    if (batch.truncated > 0)
      refuse({
        status: 422,
        code: 'too_long',
        message:
          `query has more than half of the tokens of a window (${model.maxLength}), which are its own beside a text that is ` +
          'read in windows. Shorten it, or have pairs cut (truncate: true).',
        property: 'query',
      });
    for (const [row, window] of textsOf(batch).entries()) found.push({ window, text: texts[row]! });
    if (found.length > most) break;
  }
  return found;
}
