import type { CrossEncoder } from '../encoders/cross-encoder.js';
import type { ScoreActivation } from '../model-folder/cross-encoder-folder.js';
import { shortestFloat32 } from '../tensor/shortest-float32.js';
import type { TextPair } from '../tokenizer/tokenizer.js';
import type { Schema } from './json-schema.js';
import type { Route } from './route.js';
import { encodeWindows } from './document-windows.js';
import { encodeInputs, type Inputs, type Service } from './service.js';
import { CUT } from './text-routes.js';

/** The route of a model that scores a query and a text together: that of text-embeddings-inference. */
export function rerankRoute(model: CrossEncoder, service: Service): Route {
  const { maxTexts } = service;
  const body: Schema = {
    type: 'object',
    additionalProperties: false,
    required: ['query', 'texts'],
    properties: {
      query: { type: 'string' },
      texts: {
        type: 'array',
        title: `a list of 1 to ${maxTexts} texts`,
        items: { type: 'string' },
        minItems: 1,
        maxItems: maxTexts,
      },
      raw_scores: {
        type: 'boolean',
        default: false,
        description: `Whether scores are the model's own, without its activation (${model.activation}).`,
      },
      return_text: { type: 'boolean', default: false },
      truncate: {
        type: 'boolean',
        default: service.truncate,
        description: `Whether a pair that is too long is cut, its longer text first. Otherwise ${
          service.overlap === undefined
            ? 'it is refused'
            : 'its text is read in windows beside the whole query, and has the best score of them'
        }.`,
      },
    },
  };
  return {
    method: 'POST',
    path: '/rerank',
    operation: 'rerank',
    summary: 'Scores of texts for a query, the best first, as text-embeddings-inference has them.',
    body,
    type: 'application/json',
    answer: {
      type: 'array',
      items: {
        type: 'object',
        required: ['index', 'score'],
        properties: {
          index: { type: 'integer', minimum: 0 },
          score: { type: 'number' },
          text: { type: 'string' },
        },
      },
    },
    errors: 'tei',
    async handle(given, signal) {
      const query = given.query as string;
      const texts = given.texts as readonly string[];
      const pairs = {
        list: texts.map((text): TextPair => [query, text]),
        property: 'texts',
        single: false,
      };
      const truncate = (given.truncate ?? service.truncate) as boolean;
      const logits =
        service.overlap === undefined || truncate
          ? await logitsOf(model, service, { ...pairs, truncate }, signal)
          : await encodeWindows(model, service, pairs, signal);
      const activation = given.raw_scores === true ? 'identity' : model.activation;
      const ranked = Array.from(logits, (logit, index) => ({
        index,
        score: activated(logit, activation),
      })).sort((a, b) => b.score - a.score);
      const items = ranked.map(({ index, score }) => {
        const text = given.return_text === true ? `,"text":${JSON.stringify(texts[index])}` : '';
        return `{"index":${index},"score":${shortestFloat32(Math.fround(score))}${text}}`;
      });
      return { text: `[${items.join(',')}]` };
    },
  };
}

/** The logits of pairs; one that is too long is cut or refused. */
async function logitsOf(
  model: CrossEncoder,
  service: Service,
  pairs: Pick<Inputs<TextPair>, 'list' | 'property' | 'single' | 'truncate'>,
  signal: AbortSignal,
): Promise<number[]> {
  const inputs = {
    ...pairs,
    tokenize: (part: readonly TextPair[]) => model.tokenize(part),
    maxLength: model.maxLength,
    wayOut: CUT,
  };
  const { rows } = await encodeInputs(service, inputs, signal);
  return rows.map(([logit]) => logit!);
}

function activated(logit: number, activation: ScoreActivation): number {
  switch (activation) {
    case 'sigmoid':
      return 1 / (1 + Math.exp(-logit));
    case 'tanh':
      return Math.tanh(logit);
    case 'identity':
      return logit;
  }
}
