import { refuse, type Fields } from '../options/fields.js';
import type { SettingTable } from '../options/setting-table.js';
import { distillKLDivKind, type DistillKLDivSettings } from './distill-kl-div.js';
import type { LossKind } from './loss-kind.js';
import { marginMSEKind, type MarginMSESettings } from './margin-mse.js';
import {
  multipleNegativesRankingKind,
  type MultipleNegativesRankingSettings,
} from './multiple-negatives-ranking.js';
import { regularizerWarmUp, splade } from './splade.js';

/** The regularisers of {@link splade} in a configuration. */
export interface RegularizerSettings {
  readonly documentRegularizerWeight: number;
  readonly queryRegularizerWeight: number | null;
  readonly documentRegularizerThreshold: number | null;
  readonly queryRegularizerThreshold: number | null;
  readonly useDocumentRegularizerOnly: boolean;
  /** The part of a run's updates in which the weights grow. */
  readonly regularizerWarmup: number;
}

export type SpladeSettings = MultipleNegativesRankingSettings & RegularizerSettings;
export type SpladeMarginMSESettings = MarginMSESettings & RegularizerSettings;
export type SpladeDistillKLDivSettings = DistillKLDivSettings & RegularizerSettings;

const THRESHOLD = { kind: 'number', from: 0, whole: true, default: null } as const;

const REGULARIZERS: SettingTable<RegularizerSettings> = {
  documentRegularizerWeight: {
    kind: 'number',
    from: 0,
    default: 3e-5,
    help: 'multiplies the FLOPS regulariser of documents; default 3e-5',
  },
  queryRegularizerWeight: {
    kind: 'number',
    from: 0,
    default: null,
    help: 'multiplies that of queries, 5e-5 in many models; default none',
  },
  documentRegularizerThreshold: {
    ...THRESHOLD,
    help: 'documents with at most so many active columns are not regularised; default: all are',
  },
  queryRegularizerThreshold: { ...THRESHOLD, help: 'the same for queries' },
  useDocumentRegularizerOnly: {
    kind: 'switch',
    default: false,
    help: 'regularise all texts together as documents',
  },
  regularizerWarmup: {
    kind: 'number',
    from: 0,
    to: 1,
    default: 1 / 3,
    help: 'part of all updates in which both weights grow from 0, by the square; default a third',
  },
};

/** A loss inside of {@link splade} in `train`. */
function spladeOf<S>(
  inner: LossKind<S>,
  about: string,
  settings: SettingTable<S>,
): LossKind<S & RegularizerSettings> {
  return {
    ...inner,
    about,
    sparse: true,
    takesLists: false,
    takesMemory: false,
    settings: { ...settings, ...REGULARIZERS } as unknown as SettingTable<S & RegularizerSettings>,
    check: (given, fields) => {
      inner.check?.(given, fields);
      check(given, fields);
    },
    make: (given, model) => {
      const loss = inner.make(only(settings, given), { ...model, sparse: true });
      const { regularizerWarmup: _, ...regularizers } = only<RegularizerSettings>(REGULARIZERS, given);
      return splade(loss, regularizers);
    },
    stepOptions: ({ regularizerWarmup: part }, { step, steps }) => ({
      regularizerScale: part === 0 ? 1 : regularizerWarmUp(Math.max(1, Math.floor(steps * part)))(step),
    }),
  };
}

/** @throws GradCacheError `INPUT` for settings that contradict each other */
function check(given: RegularizerSettings, fields: Fields): void {
  const {
    useDocumentRegularizerOnly: documentsOnly,
    queryRegularizerWeight: weight,
    queryRegularizerThreshold: threshold,
  } = given;
  if (documentsOnly && weight !== null)
    throw refuse(fields.at('queryRegularizerWeight'), weight, 'none, with useDocumentRegularizerOnly,');
  if (weight === null && threshold !== null)
    throw refuse(fields.at('queryRegularizerThreshold'), threshold, 'none, without queryRegularizerWeight,');
}

/** The settings of a table alone. */
function only<S>(table: SettingTable<S>, given: S): S {
  return Object.fromEntries(Object.keys(table).map((name) => [name, given[name as keyof S]])) as S;
}

const { settings: ranking } = multipleNegativesRankingKind;
const { settings: distillation } = distillKLDivKind;

/** {@link splade} in `train`, with multiple negatives ranking. */
export const spladeKind = spladeOf<MultipleNegativesRankingSettings>(
  multipleNegativesRankingKind,
  'of a sparse encoder: multiple-negatives-ranking, and FLOPS regularisers',
  {
    ...ranking,
    scale: { ...ranking.scale, default: 1, help: 'multiplies similarities; default 1' },
    similarity: { ...ranking.similarity, default: 'dot', help: 'dot (default) or cosine' },
  },
);

/** The same with Margin-MSE. */
export const spladeMarginMSEKind = spladeOf<MarginMSESettings>(
  marginMSEKind,
  'of a sparse encoder: margin-mse, and FLOPS regularisers',
  marginMSEKind.settings,
);

/** The same with a teacher's ranking. */
export const spladeDistillKLDivKind = spladeOf<DistillKLDivSettings>(
  distillKLDivKind,
  'of a sparse encoder: distill-kl-div, and FLOPS regularisers',
  { ...distillation, temperature: { ...distillation.temperature, default: 2, help: 'default 2' } },
);
