import { faultIn, refusedIn } from '../files/file-fault.js';
import { show } from '../options/option-values.js';

/**
 * How the representations of a text's tokens become one: their mean (`'mean'`), the first (`'cls'`), the last (`'last'`), the
 * largest value of each dimension (`'max'`), their sum divided by the root of their number (`'mean-sqrt-length'`), or their mean
 * weighted by their places, 1, 2, 3, … (`'weighted-mean'`, Muennighoff 2022).
 */
export type TokenPooling = 'mean' | 'cls' | 'max' | 'last' | 'mean-sqrt-length' | 'weighted-mean';

/**
 * How token representations become one: in one way or, side by side, in several; `'splade'`: words of the vocabulary, see
 * {@link SpladePooling}; `'none'`: not at all, for late interaction.
 */
export type Pooling = TokenPooling | readonly TokenPooling[] | 'splade' | 'none';

/** The names of pooling modes in the files of sentence-transformers 6, in the order in which it puts them side by side. */
const MODES: Readonly<Record<TokenPooling, string>> = {
  cls: 'cls',
  max: 'max',
  mean: 'mean',
  'mean-sqrt-length': 'mean_sqrt_len_tokens',
  'weighted-mean': 'weightedmean',
  last: 'lasttoken',
};
/** The flag of each in older files. */
const FLAGS: Readonly<Record<TokenPooling, string>> = {
  cls: 'pooling_mode_cls_token',
  max: 'pooling_mode_max_tokens',
  mean: 'pooling_mode_mean_tokens',
  'mean-sqrt-length': 'pooling_mode_mean_sqrt_len_tokens',
  'weighted-mean': 'pooling_mode_weightedmean_tokens',
  last: 'pooling_mode_lasttoken',
};

/** Every pooling of tokens into one representation. */
export const TOKEN_POOLINGS = Object.keys(MODES) as readonly TokenPooling[];

/** The poolings that a model has side by side. */
export function poolingsOf(pooling: Pooling): readonly string[] {
  return typeof pooling === 'string' ? [pooling] : pooling;
}

/** One pooling is written without a list. */
export function asPooling(poolings: readonly TokenPooling[]): Pooling {
  return poolings.length === 1 ? poolings[0]! : poolings;
}

export const isSamePooling = (one: Pooling, other: Pooling): boolean =>
  poolingsOf(one).join() === poolingsOf(other).join();

/**
 * The pooling that the config.json of a Pooling states.
 *
 * @throws GradCacheError `CHECKPOINT` for one that is unknown
 */
export function poolingIn(path: string, config: Readonly<Record<string, unknown>>): Pooling {
  const modes = config.pooling_mode === undefined ? flagged(path, config) : [config.pooling_mode].flat();
  const poolings = modes.map((mode: unknown) => TOKEN_POOLINGS.find((each) => MODES[each] === mode));
  const known = poolings.filter((each) => each !== undefined);
  if (known.length > 0 && known.length === poolings.length) return asPooling(known);
  const found = modes.map((mode) => (typeof mode === 'string' ? mode : show(mode)));
  throw faultIn(
    path,
    `its pooling is ${found.join(' + ') || 'none'}; supported are ${Object.values(MODES).join(', ')}, one or several`,
  );
}

function flagged(path: string, config: Readonly<Record<string, unknown>>): unknown[] {
  const active = TOKEN_POOLINGS.flatMap((pooling) => {
    const value = config[FLAGS[pooling]] ?? false;
    if (typeof value !== 'boolean') throw refusedIn(path, FLAGS[pooling], value, 'true or false');
    return value ? [MODES[pooling]] : [];
  });
  return active.length > 0 ? active : [MODES.mean];
}

/** Flags of modes that releases before 2.3 do not know. */
const LATER: readonly string[] = ['weighted-mean', 'last'];

/**
 * The config.json of a Pooling. Flags give the order in which poolings stand side by side: another one needs `pooling_mode`, which
 * releases before 6 do not know.
 *
 * @param dimension the width of a token's representation
 */
export function poolingConfig(
  pooling: Pooling,
  dimension: number,
  includePrompt: boolean | undefined,
): Record<string, unknown> {
  const poolings = poolingsOf(pooling);
  const flags = TOKEN_POOLINGS.filter((each) => !LATER.includes(each) || poolings.includes(each)).map(
    (each): [string, boolean] => [FLAGS[each], poolings.includes(each)],
  );
  const inOrder = TOKEN_POOLINGS.filter((each) => poolings.includes(each));
  return {
    word_embedding_dimension: dimension,
    ...(inOrder.join() === poolings.join()
      ? Object.fromEntries(flags)
      : { pooling_mode: poolings.map((each) => MODES[each as TokenPooling]) }),
    ...(includePrompt !== undefined && { include_prompt: includePrompt }),
  };
}
