import { GradCacheError } from '../errors.js';
import { initializerRange } from '../architectures/architecture.js';
import { countIn, numberIn, refusedConfig, type Config } from '../architectures/config-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { tokenizerConfigToSave } from '../tokenizer/tokenizer-config.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { captionTower } from './caption-tower.js';
import { asBytes, newBothTowers, towerPart, type PictureFolder } from './picture-folder.js';
import { PREPROCESSING_FILE, usualPreprocessing, type Preprocessing } from './preprocessing.js';
import { usualScoreNumbers } from './score-numbers.js';
import { patchesIn } from './tower-config.js';
import { randomWeights } from './tower-weights.js';
import { visionTower, type Tower } from './vision-tower.js';

/** What the folder puts in front of the names of its towers. */
const PREFIXES = { vision: 'vision_model.', text: 'text_model.' } as const;

/**
 * CLIP or SigLIP with random weights, as the folder that it would be saved to.
 *
 * @param config the content of a config.json with `model_type` clip or siglip
 * @throws GradCacheError `CHECKPOINT` for a configuration that is not supported, or that does not fit the tokenizer
 */
export async function newImageTextFolder(
  config: Config,
  tokenizer: Tokenizer,
  seed: number,
): Promise<{ readonly folder: PictureFolder; readonly preprocessing: Preprocessing }> {
  const companions = new Map(tokenizer.companions);
  const empty = newBothTowers(config, companions);
  const { kind } = empty;
  const projection = countIn(config, 'projection_dim', 512);
  const [ofPictures, ofCaptions] = [towerPart(empty, 'vision_config'), towerPart(empty, 'text_config')];
  const vision = visionTower(kind, ofPictures, { projection: kind === 'clip' ? projection : undefined });
  const captions = captionTower(kind, ofCaptions, { projection });
  if (vision.dimension !== captions.dimension)
    throw refusedConfig(
      'projection_size',
      captions.dimension,
      `${vision.dimension}, the length of what the pictures' tower makes,`,
    );
  await requireFitting(ofCaptions, tokenizer, kind, captions.positions);
  const { preprocessing, stated } = usualPreprocessing(kind, patchesIn(ofPictures).side);
  companions.set(PREPROCESSING_FILE, asBytes(stated));
  companions.set('tokenizer.json', new TextEncoder().encode(tokenizer.json));
  const tokenizerConfig = tokenizerConfigToSave(tokenizer, captions.positions);
  if (tokenizerConfig !== undefined) companions.set('tokenizer_config.json', asBytes(tokenizerConfig));
  const tensors = new Map([
    ...randomWeights(namedIn(vision, PREFIXES.vision), initializerRange(ofPictures), seed),
    ...randomWeights(namedIn(captions, PREFIXES.text), initializerRange(ofCaptions), seed + 1),
    ...scoreNumbers(config),
  ]);
  return { folder: { ...empty, tensors }, preprocessing };
}

function namedIn({ shapes, outside }: Tower, prefix: string): Map<string, readonly number[]> {
  return new Map(Array.from(shapes, ([name, shape]) => [outside.has(name) ? name : prefix + name, shape]));
}

function scoreNumbers(config: Config): [string, StoredTensor][] {
  const { temperature, bias } = usualScoreNumbers(config);
  const number = (value: number, shape: readonly number[]): StoredTensor => ({
    dtype: 'float32',
    shape,
    bytes: new Uint8Array(Float32Array.of(value).buffer),
  });
  if (bias === null) return [['logit_scale', number(-Math.log(temperature), [])]];
  return [
    ['logit_scale', number(-Math.log(temperature), [1])],
    ['logit_bias', number(bias, [1])],
  ];
}

/** CLIP finds the end of a caption by its token: another token there would be no error, but nonsense. */
async function requireFitting(
  config: Config,
  tokenizer: Tokenizer,
  kind: 'clip' | 'siglip',
  positions: number,
): Promise<void> {
  const words = countIn(config, 'vocab_size', kind === 'clip' ? 49408 : 32000);
  if (words < tokenizer.vocabularySize)
    throw refusedConfig('vocab_size', words, `${tokenizer.vocabularySize} or more, for its tokenizer,`);
  if (kind === 'siglip') return;
  const end = numberIn(config, 'eos_token_id', 49407);
  const { ids } = await tokenizer.encode(['a'], { maxLength: positions });
  const last = end === 2 ? Math.max(...ids) : end;
  if (ids.at(-1) === last) return;
  throw new GradCacheError(
    'CHECKPOINT',
    `eos_token_id is ${end}, and the tokenizer ends a caption with token ${ids.at(-1) ?? 'none'}: CLIP reads a caption at its end.`,
  );
}
