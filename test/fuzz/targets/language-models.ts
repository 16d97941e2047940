import { guarded, native, type LanguageModelHandleSettings } from '../../../lib/addon/native.js';
import { LanguageModel, type Carried, type NewLanguageModel, type Segment } from '../../../lib/index.js';
import { nativeSettings, readLanguageSettings } from '../../../lib/language/language-settings.js';
import { disturbedCalls, type GoodCall } from '../disturbed-calls.js';
import type { Target } from '../target.js';

const small = { vocabulary: 9, layers: 2, width: 4, projected: 4 };
const MODELS: NewLanguageModel[] = [
  { ...small, heads: 2, memory: 3, window: 4, dropout: 0.1 },
  {
    vocabulary: 9,
    layers: 1,
    width: 4,
    cell: 'qrnn',
    qrnnWindow: 2,
    cutoffs: [3, 6],
    divisor: 2,
    output: 'tied',
  },
  { vocabulary: 9, layers: 1, width: 4, cell: 'lstm', activationPenalty: 1, adversarialNoise: 0.1 },
];

/** Segments, states and settings of language models, through the class and the addon's handle before it. */
export const languageModels: Target = {
  count: 800,
  least: { answered: 100, refused: 100 },
  prepare: () => {
    const model = LanguageModel.create(MODELS[0]!);
    const segment = (): Segment => ({
      rows: 2,
      inputs: Int32Array.of(1, 2, 3, 4, 5, 6),
      targets: Int32Array.of(2, 3, -1, 8, 0, 7),
    });
    const calls: GoodCall[] = [
      ...MODELS.map((settings) => ({
        name: 'create',
        make: () => [settings, { seed: 1 }],
        use: (...args: [never, never]) => {
          LanguageModel.create(...args).dispose();
        },
      })),
      ...MODELS.map((settings) => ({
        name: 'LanguageModelHandle',
        make: () => [nativeSettings(readLanguageSettings(settings, 'settings')), 'float32', 'cpu'],
        use: (given: LanguageModelHandleSettings, ...args: [never, never]) => {
          guarded(() => new (native().LanguageModelHandle)(given, ...args)).dispose();
        },
      })),
      {
        name: 'forwardSegment, backward',
        make: () => [segment(), model.initialState(2), { seed: 3, graph: true }, 0.5],
        use: async (read: Segment, before: Carried, options: never, seed: never) => {
          const first = await model.forwardSegment(read, before, options);
          const second = await model.forwardSegment(read, first.after, options);
          await second.backward(seed, second.after.state);
        },
      },
      {
        name: 'logLikelihoods',
        make: () => [segment(), model.initialState(2), { window: 3 }],
        use: async (read: Segment, before: Carried, options: never) => {
          const { after } = await model.logLikelihoods(read, before, options);
          await model.logLikelihoods(read, after, options);
        },
      },
      {
        name: 'generate',
        make: () => [
          Int32Array.of(1, 2),
          { tokens: 3, temperature: 0.7, topK: 3, topP: 0.9, seed: 1, until: 4 },
        ],
        use: (prompt: never, options: { tokens?: unknown } | null) => {
          const tokens = options?.tokens;
          if (typeof tokens === 'number' && tokens > 1000) return []; // it would take that long
          return model.generate(prompt, options as never);
        },
      },
    ];
    return disturbedCalls(calls);
  },
};
