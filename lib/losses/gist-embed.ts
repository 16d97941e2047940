import { GradCacheError } from '../errors.js';
import type { Fields } from '../options/fields.js';
import { refuse } from '../options/fields.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireCount,
  requireNumber,
  requireOneOf,
  requireTexts,
} from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { Tensor } from '../tensor/tensor.js';
import { idSettings } from './identities.js';
import { requireForEach } from './labels.js';
import { MASK_DUPLICATES, type GuideEncoder, type LossKind, type TrainedLoss } from './loss-kind.js';
import {
  requireCheckable,
  requireTowers,
  type Length,
  type LossGradients,
  type LossOptions,
  type LossShare,
} from './loss.js';
import { ownersByRow, ownersOf } from './targets.js';
import {
  checkTemperature,
  scaleFrom,
  temperatureFrom,
  temperatureSettings,
  type Scale,
  type Temperature,
  type TemperatureSettings,
} from './temperature.js';
import { requirePairs } from './tensor-loss.js';
import { TiledLoss } from './tiled-loss.js';

const STRATEGIES = ['absolute', 'relative'] as const;

/** Settings of {@link gistEmbed}. */
export interface GISTEmbedOptions {
  /**
   * What judges whether a pair is a false negative: a model that encodes the texts of each step, such as a `TextEncoder`, or
   * `'self'`, the representations that are trained, taken as constants. Default: the step gives a guide's representations.
   */
  readonly guide?: GuideEncoder | 'self';
  /** Cosines are divided by it, as in {@link InfoNCEOptions}. Default 0.01. */
  readonly temperature?: Temperature;
  /**
   * A pair is left out if the guide finds it nearer than the anchor's own pair, of cosine g: above `g - margin` (`absolute`,
   * the default) or above `g - |g| * margin` (`relative`). The own pair always stays.
   */
  readonly marginStrategy?: (typeof STRATEGIES)[number];
  /** Default 0. A negative margin leaves out only what is clearly nearer. */
  readonly margin?: number;
  /** In place of margins: a pair whose cosine is above this is left out, whatever that of the anchor's own pair is. */
  readonly threshold?: number | null;
  /** Whether an anchor is compared with all anchors too. Default true. */
  readonly contrastAnchors?: boolean;
  /** Whether its positive is compared with all positives too. Default true. */
  readonly contrastPositives?: boolean;
}

/**
 * GISTEmbed (Solatorio 2024; sentence-transformers' GISTEmbedLoss and CachedGISTEmbedLoss): InfoNCE that leaves out false
 * negatives, as a guide judges them. With `guide: 'self'` and a `threshold` or a negative `margin` it leaves out what the
 * model itself finds too near.
 *
 * Towers: anchors [N, d], positives [N, d], then any number of hard negatives [M_k, d]. An anchor with itself, and a
 * positive with itself, have no place of their own: their cosine of 1 is above that of the own pair, unless that is 1 too.
 * Computed in tiles.
 *
 * `step(inputs, { loss: { texts, guide, ids, owners } })`:
 * - `texts`: for a `guide` that encodes, the texts of each tower, as they are: the guide has its own tokenizer. It encodes
 *   them once in a step, without a graph.
 * - `guide`: without an option `guide`, its representations, a tensor [rows, any dimension] for each tower.
 * - `ids`: what identifies the example of each row, a string, a whole number from 0, or a list of them. Rows that share one
 *   are no negatives of each other.
 * - `owners`: beside `ids`, the row that each hard negative is about, one tower after the other; -1: none. Default: row i is
 *   about example i.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`, and what the guide throws
 * @example
 * ```ts
 * const guide = await TextEncoder.load('hf:BAAI/bge-small-en-v1.5');
 * const gradcache = new GradCache({ encoders: [model, model], loss: gistEmbed({ guide }) });
 * const texts = [anchors, positives];
 * await gradcache.step([model.tokenize(anchors), model.tokenize(positives)], { loss: { texts } });
 * ```
 */
export function gistEmbed(options: GISTEmbedOptions = {}): TrainedLoss {
  checkKnown('gistEmbed', options, [
    'guide',
    'temperature',
    'marginStrategy',
    'margin',
    'threshold',
    'contrastAnchors',
    'contrastPositives',
  ]);
  const { guide = null, temperature = 0.01, marginStrategy = 'absolute', threshold = null } = options;
  const { margin = 0, contrastAnchors = true, contrastPositives = true } = options;
  if (guide !== null && guide !== 'self' && typeof (guide as Partial<GuideEncoder>).encode !== 'function')
    throw refused('guide', guide, 'a TextEncoder, another object with encode(texts), or "self"');
  requireOneOf('marginStrategy', marginStrategy, STRATEGIES);
  requireNumber('margin', margin);
  if (threshold !== null) requireNumber('threshold', threshold);
  if (threshold !== null && margin !== 0) throw refused('margin', margin, '0, beside a threshold,');
  requireBoolean('contrastAnchors', contrastAnchors);
  requireBoolean('contrastPositives', contrastPositives);
  const relative = marginStrategy === 'relative';
  const judged = { relative, margin, threshold, contrastAnchors, contrastPositives };
  return new GISTEmbed(guide, scaleFrom(temperature), judged);
}

class GISTEmbed extends TiledLoss implements TrainedLoss {
  readonly #guide: GuideEncoder | 'self' | null;
  readonly #temperature: () => number;

  constructor(
    guide: GuideEncoder | 'self' | null,
    { scale, temperature }: Scale,
    judged: Readonly<Record<string, boolean | number | null>>,
  ) {
    super({
      name: 'gist_embed',
      cosine: true,
      numbers: { scale },
      settings: ({ guides, ...options }, _anchors, rows) => {
        const own = rows.slice(0, rows.length - (guides as number));
        return {
          ...judged,
          ...idSettings(options, own, ownersOf(options, own, false)),
          guides: guides as number,
        };
      },
    });
    this.#guide = guide;
    this.#temperature = temperature;
  }

  get temperature(): number {
    return this.#temperature();
  }

  readonly takesIds = true;
  /** Whoever judges a pair needs both of its rows. */
  override readonly takesRing = false;

  /** The others are about no example of the batch. */
  optionsBeside(options: LossOptions, rows: readonly number[], others: number): LossOptions {
    requireCheckable(options, rows);
    requireCount('others', others, 0);
    if (options.ids === undefined) return options;
    const own = ownersOf(options, rows, false) ?? ownersByRow(rows);
    return { ...options, owners: [...own, ...new Array<number>(others).fill(-1)] };
  }

  /** @throws GradCacheError `INPUT`, `SHAPE` for keyword arguments that do not fit */
  override checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    const encodes = this.#guide !== null && this.#guide !== 'self';
    const judging = encodes ? ['texts'] : this.#guide === 'self' ? [] : ['guide'];
    checkKnown('the loss of gistEmbed', options, [...judging, 'ids', 'owners']);
    requirePairs('gistEmbed', ['anchors', 'positives'], rows);
    idSettings(options, rows, ownersOf(options, rows, false));
    const { texts, guide } = options;
    if (encodes) {
      requireTowerList('texts', texts, rows.length, 'the texts of each tower, which the guide encodes,');
      for (const [tower, list] of texts.entries()) {
        requireTexts(`texts[${tower}]`, list);
        requireForEach(`texts[${tower}]`, list, rows[tower]!);
      }
    } else if (this.#guide === null) {
      requireTowerList('guide', guide, rows.length, "the guide's representations, a Tensor for each tower,");
      for (const [tower, tensor] of guide.entries()) requireRows(`guide[${tower}]`, tensor, rows[tower]!);
    }
  }

  /** The texts of each tower lie one rank's behind the other's. Representations of a guide are not sent. */
  override joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    const joined = super.joinOptions(
      parts.map(({ texts: _, ...others }) => others),
      rows,
    );
    if (parts.every(({ texts }) => texts === undefined)) return joined;
    const towers = rows[0]!.map((_, tower) =>
      parts.flatMap(({ texts }) => (texts as readonly (readonly string[])[] | undefined)?.[tower] ?? []),
    );
    return { ...joined, texts: towers };
  }

  override async computeAt(
    lengths: readonly Length[],
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
    share?: LossShare,
  ): Promise<LossGradients | null> {
    requireTowers(representations);
    const rows = representations.map(({ shape }) => shape[0] ?? 0);
    this.checkOptions(options, rows);
    const { ids, owners } = options;
    const guides: Tensor[] = [];
    try {
      for (const [tower, { device }] of representations.entries()) {
        const judging = await this.#judging(options, tower, rows[tower]!);
        if (judging === null) continue;
        const dtype = judging.dtype === 'float64' ? 'float64' : 'float32';
        guides.push(noGrad(() => judging.to({ device, dtype })));
        if (this.#guide !== null) judging.dispose();
      }
      const given = { guides: guides.length, ids, owners };
      return await super.computeAt(lengths, [...representations, ...guides], weight, given, trained, share);
    } finally {
      for (const tensor of guides) tensor.dispose();
    }
  }

  /** The guide's representations of a tower; null where the model judges itself. */
  async #judging({ texts, guide }: LossOptions, tower: number, rows: number): Promise<Tensor | null> {
    if (this.#guide === 'self') return null;
    if (this.#guide === null) return (guide as readonly Tensor[])[tower]!;
    const encoded: unknown = await this.#guide.encode((texts as readonly string[][])[tower]!);
    requireRows(`what encode() of the guide returned for tower ${tower}`, encoded, rows);
    return encoded;
  }
}

function requireTowerList(
  name: string,
  given: unknown,
  towers: number,
  needed: string,
): asserts given is readonly unknown[] {
  if (!Array.isArray(given)) throw refused(name, given, `a list with ${needed}`);
  if (given.length !== towers)
    throw new GradCacheError('SHAPE', `${name} has ${given.length} entries for ${towers} towers`);
}

function requireRows(name: string, tensor: unknown, rows: number): asserts tensor is Tensor {
  if (!(tensor instanceof Tensor)) throw refused(name, tensor, 'a Tensor [rows, dimension]');
  const { shape } = tensor;
  if (shape.length === 2 && shape[0] === rows) return;
  throw new GradCacheError('SHAPE', `${name} has shape [${shape.join()}], expected [${rows}, dimension]`);
}

/** GISTEmbed in a configuration. */
export interface GISTEmbedSettings extends TemperatureSettings {
  /** A model folder, or 'self': the model that is trained. */
  readonly guide: string | null;
  /** Default 'absolute'. */
  readonly marginStrategy: (typeof STRATEGIES)[number];
  /** Default 0. */
  readonly margin: number;
  /** Default: none, margins decide. */
  readonly threshold: number | null;
  /** Default true. */
  readonly contrastAnchors: boolean;
  /** Default true. */
  readonly contrastPositives: boolean;
  /** Rows of a batch with a text in common are no negatives of each other. Default false. */
  readonly maskDuplicates: boolean;
}

/** The same in `train`. */
export const gistEmbedKind: LossKind<GISTEmbedSettings> = {
  about: 'infonce without false negatives, as a guide judges them',
  columns: { least: 2, needed: 'two or more different columns: anchor, positive, hard negatives' },
  settings: {
    guide: { kind: 'text', default: null, help: 'the model folder of the guide, or self' },
    ...temperatureSettings(0.01),
    marginStrategy: {
      kind: 'choice',
      accepted: STRATEGIES,
      default: 'absolute',
      help: 'how the margin is taken: absolute (default) or relative',
    },
    margin: { kind: 'number', default: 0, help: 'by which a negative must be farther; default 0' },
    threshold: { kind: 'number', default: null, help: 'leave out what is nearer, in place of margins' },
    contrastAnchors: { kind: 'switch', default: true, help: 'compare anchors with each other (default)' },
    contrastPositives: { kind: 'switch', default: true, help: 'compare positives with each other (default)' },
    maskDuplicates: MASK_DUPLICATES,
  },
  check: (settings, fields) => {
    checkTemperature(settings, fields);
    checkGuide(settings, fields);
  },
  guide: ({ guide }) => (guide === 'self' ? null : guide),
  masksDuplicates: ({ maskDuplicates }) => maskDuplicates,
  make: (settings, { guide }) => {
    const { marginStrategy, margin, threshold, contrastAnchors, contrastPositives } = settings;
    return gistEmbed({
      guide: settings.guide === 'self' ? 'self' : guide!,
      temperature: temperatureFrom(settings),
      marginStrategy,
      margin,
      threshold,
      contrastAnchors,
      contrastPositives,
    });
  },
  temperature: ({ temperature }) => temperature,
};

function checkGuide({ guide, margin, threshold }: GISTEmbedSettings, fields: Fields): void {
  if (guide === null) fields.missing('guide', 'give the model folder of a guide, or "self"');
  if (threshold !== null && margin !== 0) throw refuse(fields.at('margin'), margin, '0, beside a threshold,');
}
