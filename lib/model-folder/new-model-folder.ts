import { GradCacheError } from '../errors.js';
import { refused, show } from '../options/option-values.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import { mostTokens } from './length-limit.js';
import type { ModelFolder } from './model-folder.js';

/**
 * The folder of a model that is stored nowhere yet: without weights.
 *
 * @param parts.maxLength undefined: as many tokens as the model has positions for
 * @throws GradCacheError `INPUT` for a tokenizer or a configuration that is none; `CHECKPOINT` for one that is not supported
 */
export function newModelFolder(
  config: Readonly<Record<string, unknown>>,
  tokenizer: Tokenizer,
  {
    maxLength,
    ...head
  }: Pick<ModelFolder, 'pooling' | 'splade' | 'lateInteraction' | 'modules' | 'layout'> & {
    maxLength: number | undefined;
  },
): ModelFolder {
  if (!(tokenizer instanceof Tokenizer)) throw refused('the tokenizer', tokenizer, 'a Tokenizer');
  if (typeof config !== 'object' || config === null)
    throw new GradCacheError('INPUT', `the configuration is ${show(config)}, not an object`);
  const modelType = config['model_type'];
  if (typeof modelType !== 'string')
    throw new GradCacheError('CHECKPOINT', 'the configuration has no model_type');
  return {
    config,
    modelType,
    tensors: new Map(),
    ...head,
    prompts: {},
    defaultPrompt: null,
    ...(head.splade && { similarity: 'dot' }),
    ...(head.pooling === 'none' && { similarity: 'maxsim' }),
    maxLength: maxLength ?? mostTokens(modelType, config),
    tokenizer,
  };
}
