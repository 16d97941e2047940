import { promptNameFor } from '../encoders/prompts.js';
import type { TextEncoder } from '../encoders/text-encoder.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';
import type { Schema } from './json-schema.js';
import type { Answer, Route } from './route.js';
import { encodeInputs, type Inputs, type Service } from './service.js';
import { asBase64, asJson, finished } from './vectors.js';

type Body = Readonly<Record<string, unknown>>;

/** A text, or the ids of its tokens. */
type TextOrIds = string | readonly number[];

/** The routes of a model that gives a text one representation. */
export function textRoutes(model: TextEncoder, service: Service): Route[] {
  return [embeddings(model, service), models(service), embed(model, service)];
}

/** A text or a list of texts. */
function oneOrMore(items: Schema, maxItems: number): Schema[] {
  return [items, { type: 'array', items, minItems: 1, maxItems }];
}

/** The ids of a text's tokens, as the model reads them. */
function idsSchema(model: TextEncoder): Schema {
  const items = { type: 'integer', minimum: 0, maximum: model.tokenizer.vocabularySize - 1 } as const;
  return { type: 'array', items, minItems: 1, maxItems: model.maxLength };
}

/** OpenAI's. */
function embeddings(model: TextEncoder, service: Service): Route {
  const { name, maxTexts } = service;
  const body: Schema = {
    type: 'object',
    additionalProperties: false,
    required: ['model', 'input'],
    properties: {
      model: { type: 'string', enum: [name], description: 'The name that the server gives its model.' },
      input: {
        title: `a text, a list of 1 to ${maxTexts} texts, a list of token ids, or a list of such lists`,
        description:
          'Token ids are those of this model, special tokens included; no prompt is put in front of them.',
        anyOf: [
          ...oneOrMore({ type: 'string' }, maxTexts),
          idsSchema(model),
          { type: 'array', items: idsSchema(model), minItems: 1, maxItems: maxTexts },
        ],
      },
      encoding_format: { type: 'string', enum: ['float', 'base64'], default: 'float' },
      dimensions: dimensionsSchema(model),
      input_type: {
        type: 'string',
        enum: ['query', 'document'],
        description:
          "What the texts are, which chooses the model's prompt and length limit for them. Not one of OpenAI's.",
      },
      user: { type: 'string', description: 'Taken for the sake of clients; not used and not kept.' },
    },
  };
  return {
    method: 'POST',
    path: '/v1/embeddings',
    operation: 'createEmbeddings',
    summary: "Representations of texts, as OpenAI's API has them: of length one.",
    body,
    resource: 'model',
    type: 'application/json',
    answer: EMBEDDINGS,
    errors: 'openai',
    async handle(given, signal) {
      const { encoding_format: format = 'float', dimensions = model.dimension } = given;
      const task = given.input_type as TextTask | undefined;
      const inputs = {
        ...inputsOf(given.input as TextOrIds | readonly TextOrIds[], 'input'),
        ...tokenizing(model, task && promptFor(model, task), task),
        truncate: service.truncate,
        wayOut: 'Shorten it, or start the server so that it cuts texts (--truncate).',
      };
      const { rows, tokens } = await encodeInputs(service, inputs, signal);
      const write = format === 'base64' ? asBase64 : asJson;
      const data = rows.map((row, index) => {
        const vector = finished(row, { dimensions: dimensions as number, normalize: true });
        return `{"object":"embedding","index":${index},"embedding":${write(vector)}}`;
      });
      const usage = JSON.stringify({ prompt_tokens: tokens, total_tokens: tokens });
      return {
        text: `{"object":"list","data":[${data.join(',')}],"model":${JSON.stringify(name)},"usage":${usage}}`,
      };
    },
  };
}

const EMBEDDINGS: Schema = {
  type: 'object',
  required: ['object', 'data', 'model', 'usage'],
  properties: {
    object: { type: 'string', enum: ['list'] },
    data: {
      type: 'array',
      items: {
        type: 'object',
        required: ['object', 'index', 'embedding'],
        properties: {
          object: { type: 'string', enum: ['embedding'] },
          index: { type: 'integer', minimum: 0 },
          embedding: { anyOf: [{ type: 'array', items: { type: 'number' } }, { type: 'string' }] },
        },
      },
    },
    model: { type: 'string' },
    usage: {
      type: 'object',
      required: ['prompt_tokens', 'total_tokens'],
      properties: { prompt_tokens: { type: 'integer' }, total_tokens: { type: 'integer' } },
    },
  },
};

/** The list of models, which clients of OpenAI's API ask for: there is one. */
function models({ name, started }: Service): Route {
  const entry = { id: name, object: 'model', created: started, owned_by: 'gradcache' };
  const text = JSON.stringify({ object: 'list', data: [entry] });
  const words: Schema = { type: 'string' };
  return {
    method: 'GET',
    path: '/v1/models',
    operation: 'listModels',
    summary: 'The model that is served.',
    type: 'application/json',
    answer: {
      type: 'object',
      required: ['object', 'data'],
      properties: {
        object: words,
        data: {
          type: 'array',
          items: {
            type: 'object',
            required: ['id', 'object', 'created', 'owned_by'],
            properties: { id: words, object: words, created: { type: 'integer' }, owned_by: words },
          },
        },
      },
    },
    errors: 'openai',
    handle: async () => ({ text }),
  };
}

/** That of text-embeddings-inference. */
function embed(model: TextEncoder, service: Service): Route {
  const prompts = Object.keys(model.prompts);
  const body: Schema = {
    type: 'object',
    additionalProperties: false,
    required: ['inputs'],
    properties: {
      inputs: {
        title: `a text or a list of 1 to ${service.maxTexts} texts`,
        anyOf: oneOrMore({ type: 'string' }, service.maxTexts),
      },
      normalize: {
        type: 'boolean',
        default: true,
        description: 'Whether representations are scaled to length one.',
      },
      truncate: {
        type: 'boolean',
        default: service.truncate,
        description: 'Whether a text that is too long is cut. Otherwise it is refused.',
      },
      truncation_direction: {
        type: 'string',
        enum: [model.tokenizer.truncationSide === 'left' ? 'Left' : 'Right'],
        description: 'The end at which a text is cut; the model has one.',
      },
      prompt_name: {
        type: 'string',
        enum: ['', ...prompts],
        title: prompts.length === 0 ? "'', since the model has no prompts," : undefined,
        description: "One of the model's prompts, put in front of each text. Default: its default prompt.",
      },
      dimensions: dimensionsSchema(model),
    },
  };
  return {
    method: 'POST',
    path: '/embed',
    operation: 'embed',
    summary: 'Representations of texts, as text-embeddings-inference has them.',
    body,
    type: 'application/json',
    answer: { type: 'array', items: { type: 'array', items: { type: 'number' } } },
    errors: 'tei',
    handle: (given, signal) => answerEmbed(given, model, service, signal),
  };
}

async function answerEmbed(
  given: Body,
  model: TextEncoder,
  service: Service,
  signal: AbortSignal,
): Promise<Answer> {
  const { normalize = true, truncate = service.truncate, dimensions = model.dimension } = given;
  const inputs = {
    ...inputsOf(given.inputs as string | readonly string[], 'inputs'),
    ...tokenizing(model, given.prompt_name as string | undefined, undefined),
    truncate: truncate as boolean,
    wayOut: CUT,
  };
  const { rows } = await encodeInputs(service, inputs, signal);
  const how = { dimensions: dimensions as number, normalize: normalize as boolean };
  return { text: `[${rows.map((row) => asJson(finished(row, how))).join(',')}]` };
}

/** What to do about a text that is too long, where the request can say so. */
export const CUT = 'Shorten it, or have it cut: "truncate": true.';

function dimensionsSchema({ dimension }: TextEncoder): Schema {
  return {
    type: 'integer',
    minimum: 1,
    maximum: dimension,
    default: dimension,
    description:
      'How many numbers of a representation to give, from the first on. A model trained for it is needed.',
  };
}

/** A list of inputs, of a property that may hold one alone. */
function inputsOf<Input extends TextOrIds>(
  given: Input | readonly Input[],
  property: string,
): Pick<Inputs<Input>, 'list' | 'property' | 'single'> {
  const single = typeof given === 'string' || typeof given[0] === 'number';
  return { list: single ? [given as Input] : (given as readonly Input[]), property, single };
}

const promptFor = (model: TextEncoder, task: TextTask): string =>
  promptNameFor(task, (name) => Object.hasOwn(model.prompts, name));

/** How texts become tokens: lists of ids are some. */
function tokenizing(
  model: TextEncoder,
  prompt: string | undefined,
  task: TextTask | undefined,
): Pick<Inputs<TextOrIds>, 'tokenize' | 'maxLength'> {
  return {
    maxLength: model.maxLength,
    tokenize: async (part) =>
      typeof part[0] === 'string'
        ? model.tokenize(part as readonly string[], { prompt, task })
        : ofIds(part as readonly (readonly number[])[]),
  };
}

function ofIds(lists: readonly (readonly number[])[]): TokenBatch {
  const offsets = new Int32Array(lists.length + 1);
  for (const [row, { length }] of lists.entries()) offsets[row + 1] = offsets[row]! + length;
  return { ids: Int32Array.from(lists.flat()), offsets, truncated: 0 };
}
