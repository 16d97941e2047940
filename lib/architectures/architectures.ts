import { GradCacheError } from '../errors.js';
import type { Architecture } from './architecture.js';
import { albert } from './albert.js';
import { bert } from './bert.js';
import { debertaV2 } from './deberta-v2.js';
import { distilbert } from './distilbert.js';
import { electra } from './electra.js';
import { ernie } from './ernie.js';
import { eurobert } from './eurobert.js';
import { gemma2, gemma3 } from './gemma.js';
import { llama, mistral } from './llama.js';
import { modernbert } from './modernbert.js';
import { mpnet } from './mpnet.js';
import { qwen2, qwen3 } from './qwen.js';
import { roberta } from './roberta.js';
import { gte, newGte, nomicBert } from './rotary-bert.js';
import { sru, sruPlusPlus } from './sru.js';
import { staticWords } from './static-words.js';
import { t5 } from './t5.js';

const ARCHITECTURES: readonly Architecture[] = [
  ...[
    bert,
    roberta,
    mpnet,
    distilbert,
    electra,
    modernbert,
    nomicBert,
    gte,
    newGte,
    eurobert,
    ernie,
    albert,
    t5,
  ],
  debertaV2,
  ...[qwen3, qwen2, llama, mistral, gemma3, gemma2],
  ...[sru, sruPlusPlus, staticWords],
];

const BY_MODEL_TYPE = new Map(
  ARCHITECTURES.flatMap((architecture) =>
    Object.keys(architecture.tokenizers).map((modelType) => [modelType, architecture] as const),
  ),
);

/** `model_type`s of config.json that are supported. */
export const MODEL_TYPES: readonly string[] = [...BY_MODEL_TYPE.keys()];

/** What is said of encoders that are opened otherwise, by their `model_type`. */
const OPENED_OTHERWISE: readonly (readonly [RegExp, string])[] = [
  [
    /^(clip|siglip)$/,
    'It has a tower of pictures: ImageTextModel opens it, gradcache train takes it as --model, evaluate and embed do with --images.',
  ],
  [
    /^(vit|(clip|siglip)_vision_model)$/,
    'It is a model of pictures alone: ImageEncoder opens it, gradcache train takes it as --image-model beside a text encoder, and ' +
      'embed as --model with --images.',
  ],
];

/** @throws GradCacheError `CHECKPOINT` for a `model_type` that no architecture here has */
export function architectureOf(modelType: string): Architecture {
  const architecture = BY_MODEL_TYPE.get(modelType);
  if (architecture !== undefined) return architecture;
  throw new GradCacheError(
    'CHECKPOINT',
    `model_type '${modelType}' is not supported; ${MODEL_TYPES.join(', ')} are. ` +
      (OPENED_OTHERWISE.find(([types]) => types.test(modelType))?.[1] ??
        'Any other encoder can be a TypeScript class: see ModuleEncoder.'),
  );
}
