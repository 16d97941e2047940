import type { ChunkSize } from '../../lib/index.js';
import {
  alternate,
  byDefault,
  GC,
  inPrecision,
  instead,
  ours,
  peer,
  ST,
  UNPADDED,
  type Group,
} from './jobs.js';
import { SHAPES, type ShapeName } from './models.js';

const ROUNDS = [2, 1];

/** Every group, the ones of the targets first. */
export const groups: readonly Group[] = [
  {
    id: 'base-uniform-8192',
    shape: 'base',
    kind: 'uniform',
    pairs: 8192,
    dropout: 0.1,
    rounds: ROUNDS,
    warm: true,
    jobs: alternate(
      [ours(32_768, 2.1), ours(56_000, 2.1), ours(32_768, 1.9, 'auto'), byDefault(2)],
      [
        peer(UNPADDED, 32_768, true, 4),
        peer(UNPADDED, 131_072, true, 3),
        peer(UNPADDED, 32_768, false, 3.5),
        peer(UNPADDED, 131_072, false, 3.2),
        peer(GC, 256, true, 2.95),
        peer(ST, 256, true, 3.1),
      ],
    ),
  },
  {
    id: 'base-natural-8192',
    shape: 'base',
    kind: 'natural',
    pairs: 8192,
    dropout: 0.1,
    rounds: ROUNDS,
    warm: true,
    jobs: alternate(
      [ours(32_768, 1.2), ours(56_000, 1.2), ours(32_768, 1, 'auto'), byDefault(1.2)],
      [
        peer(UNPADDED, 32_768, true, 3),
        peer(UNPADDED, 131_072, true, 2),
        peer(UNPADDED, 32_768, false, 2.3),
        peer(UNPADDED, 65_536, false, 2.1),
        peer(UNPADDED, 131_072, false, 2),
        peer(GC, 256, true, 5),
        peer(ST, 256, false, 6.5),
      ],
    ),
  },
  {
    id: 'base-uniform-1024',
    shape: 'base',
    kind: 'uniform',
    pairs: 1024,
    dropout: 0.1,
    rounds: [3, 3],
    warm: true,
    jobs: alternate(
      [ours(32_768, 0.3), ours(32_768, 0.25, 'auto'), ours(1_000_000, 0.25, { bytes: 2 ** 40 })],
      [
        peer(UNPADDED, 32_768, true, 0.4),
        peer(UNPADDED, 131_072, false, 0.4),
        peer(GC, 256, true, 0.4),
        peer('full', 1024, false, 0.3),
      ],
    ),
  },
  {
    id: 'mini-natural-8192',
    shape: 'mini',
    kind: 'natural',
    pairs: 8192,
    dropout: 0.1,
    rounds: ROUNDS,
    warm: true,
    jobs: alternate(
      [ours(32_768, 0.4), ours(56_000, 0.4), ours(32_768, 0.4, 'auto')],
      [
        peer(UNPADDED, 131_072, true, 0.8),
        peer(UNPADDED, 131_072, false, 0.8),
        peer(UNPADDED, 32_768, false, 1),
        peer(GC, 256, true, 1.6),
      ],
    ),
  },
  {
    id: 'base-uniform-65536',
    shape: 'base',
    kind: 'uniform',
    pairs: 65_536,
    dropout: 0.1,
    rounds: [1],
    warm: false,
    jobs: [ours(32_768, 17), peer(UNPADDED, 131_072, true, 25)],
  },
  {
    id: 'base-uniform-8192-no-dropout',
    shape: 'base',
    kind: 'uniform',
    pairs: 8192,
    dropout: 0,
    rounds: ROUNDS,
    warm: true,
    jobs: alternate(
      [ours(32_768, 2.1), ours(32_768, 1.9, 'auto')],
      [peer(UNPADDED, 131_072, true, 3), peer(UNPADDED, 131_072, false, 3), peer(GC, 256, true, 3)],
    ),
  },
  {
    id: 'base-natural-8192-no-dropout',
    shape: 'base',
    kind: 'natural',
    pairs: 8192,
    dropout: 0,
    rounds: [3],
    warm: true,
    jobs: alternate(
      [ours(32_768, 1.2), ours(32_768, 1, 'auto')],
      [peer(UNPADDED, 131_072, true, 2), peer(UNPADDED, 131_072, false, 2)],
    ),
  },
  {
    id: 'base-natural-1024',
    shape: 'base',
    kind: 'natural',
    pairs: 1024,
    dropout: 0.1,
    rounds: [3],
    warm: true,
    jobs: alternate(
      [ours(32_768, 0.2), ours(32_768, 0.2, 'auto')],
      [peer(UNPADDED, 131_072, true, 0.3), peer(UNPADDED, 32_768, false, 0.4), peer(GC, 256, true, 0.7)],
    ),
  },
  {
    id: 'mini-uniform-8192',
    shape: 'mini',
    kind: 'uniform',
    pairs: 8192,
    dropout: 0.1,
    rounds: ROUNDS,
    warm: true,
    jobs: alternate(
      [ours(32_768, 0.4), ours(32_768, 0.4, 'auto')],
      [peer(UNPADDED, 131_072, true, 0.8), peer(UNPADDED, 131_072, false, 0.8), peer(GC, 1024, false, 0.8)],
    ),
  },
  {
    id: 'base-natural-65536',
    shape: 'base',
    kind: 'natural',
    pairs: 65_536,
    dropout: 0.1,
    rounds: [1],
    warm: false,
    jobs: [ours(32_768, 10), peer(UNPADDED, 131_072, false, 17)],
  },
  {
    id: 'mini-natural-65536',
    shape: 'mini',
    kind: 'natural',
    pairs: 65_536,
    dropout: 0.1,
    rounds: [1],
    warm: false,
    jobs: [ours(32_768, 4), peer(UNPADDED, 131_072, false, 8)],
  },
  {
    id: 'mini-uniform-65536',
    shape: 'mini',
    kind: 'uniform',
    pairs: 65_536,
    dropout: 0.1,
    rounds: [1],
    warm: false,
    jobs: [ours(32_768, 4), peer(UNPADDED, 131_072, false, 8)],
  },
  ...(['uniform', 'natural'] as const).flatMap((kind): Group[] => {
    const rivals = (pairs: number) => {
      const estimate = (pairs / 8192) * (kind === 'uniform' ? 0.8 : 2.4);
      const chunk = kind === 'uniform' ? 1024 : 256;
      return [peer(UNPADDED, 131_072, false, estimate / 2), peer(GC, chunk, false, estimate)];
    };
    const common = { shape: 'mini', kind, rounds: [3], warm: true } as const;
    return [
      {
        ...common,
        id: `mini-${kind}-1024`,
        pairs: 1024,
        dropout: 0.1,
        jobs: alternate([ours(32_768, 0.06), ours(32_768, 0.06, 'auto')], rivals(1024)),
      },
      {
        ...common,
        id: `mini-${kind}-8192-no-dropout`,
        pairs: 8192,
        dropout: 0,
        jobs: alternate([ours(32_768, 0.4), ours(32_768, 0.4, 'auto')], rivals(8192)),
      },
    ];
  }),
  ...(['uniform', 'natural'] as const).map((kind): Group => ({
    id: `base-${kind}-1024-float32`,
    shape: 'base',
    kind,
    pairs: 1024,
    dropout: 0.1,
    precision: 'float32',
    rounds: [2],
    warm: true,
    jobs: alternate([ours(32_768, 2.7), byDefault(2.5)], [peer(GC, 256, false, 4), peer(ST, 256, false, 4)]),
  })),
  {
    id: 'base-natural-1024-tf32',
    shape: 'base',
    kind: 'natural',
    pairs: 1024,
    dropout: 0.1,
    precision: 'float32',
    rounds: [2],
    warm: true,
    jobs: [
      ours(32_768, 1.6),
      inPrecision('tf32', ours(32_768, 0.6)),
      inPrecision('tf32', peer(ST, 256, false, 2)),
    ],
  },
  {
    // Compiling takes it minutes: it cuts every batch to a width of its own.
    id: 'base-natural-8192-sentence-transformers-compiled',
    shape: 'base',
    kind: 'natural',
    pairs: 8192,
    dropout: 0.1,
    rounds: [2],
    warm: true,
    jobs: [ours(56_000, 1.2), peer(ST, 256, true, 5, true)],
  },
  ...newerModels(),
];

/** Today's base models: natural texts, and for each architecture the rival compiled, or as it is where that fails. */
function newerModels(): Group[] {
  const whole = { dropout: 0, warm: true } as const;
  const rivals = (estimate: number, ...chunks: number[]) => {
    const compiled = chunks.map((chunk) => peer(UNPADDED, chunk, true, estimate));
    return [...compiled, instead(compiled.at(-1)!, peer(UNPADDED, chunks[0]!, false, estimate * 1.3))];
  };
  const qwen = { shape: 'qwen3', kind: 'natural', pairs: 8192, rounds: [2] } as const;
  return [
    {
      ...whole,
      id: 'modernbert-natural-8192',
      shape: 'modernbert',
      kind: 'natural-512',
      pairs: 8192,
      rounds: [2],
      jobs: alternate([ours(32_768, 2.9), ours(32_768, 2.4, 'auto')], rivals(4.8, 32_768, 131_072)),
    },
    {
      ...whole,
      id: 'modernbert-uniform-2048',
      shape: 'modernbert',
      kind: 'uniform-512',
      pairs: 2048,
      rounds: [2],
      jobs: alternate([ours(32_768, 2.6), ours(32_768, 2.2, 'auto')], rivals(4, 32_768, 131_072)),
    },
    {
      ...whole,
      id: 'modernbert-long-256',
      shape: 'modernbert',
      kind: 'natural-8192',
      pairs: 256,
      rounds: [2],
      jobs: alternate([ours(32_768, 1.4), ours(32_768, 1.2, 'auto')], rivals(2.4, 32_768, 131_072)),
    },
    {
      ...whole,
      ...qwen,
      id: 'qwen3-natural-8192',
      jobs: alternate([ours(32_768, 5.5), ours(32_768, 5, 'auto')], rivals(10, 32_768)),
    },
    {
      ...whole,
      ...qwen,
      id: 'qwen3-lora-natural-8192',
      lora: 16,
      jobs: alternate([ours(32_768, 4.3), ours(32_768, 3.8, 'auto')], rivals(8, 32_768)),
    },
    {
      ...whole,
      id: 'gemma-natural-8192',
      shape: 'gemma',
      kind: 'natural',
      pairs: 8192,
      rounds: [2],
      jobs: alternate([ours(32_768, 1.6), ours(32_768, 1.4, 'auto')], rivals(3, 32_768, 131_072)),
    },
    {
      ...whole,
      id: 'qwen3-8b-lora-natural-4096',
      shape: 'qwen3-8b',
      kind: 'natural',
      pairs: 4096,
      warmPairs: 128,
      rounds: [1],
      lora: 16,
      jobs: [ours(8192, 28), ...rivals(42, 8192)],
    },
  ];
}

/** The small shape that stands for a shape where everything is tried out. */
function tinyShape(shape: ShapeName): ShapeName {
  const [family = ''] = shape.split('-');
  const tried = `tiny-${family}`;
  return tried in SHAPES ? (tried as ShapeName) : 'tiny';
}

/** The same groups at sizes that a CPU takes in seconds: lengths, pairs and chunks are small, and all else is the same. */
export function tiny(): Group[] {
  const small = (chunk: ChunkSize): ChunkSize =>
    typeof chunk === 'object' && 'tokens' in chunk
      ? { tokens: Math.max(8, Math.round(chunk.tokens / 512)) }
      : chunk;
  return groups.map((group) => ({
    ...group,
    shape: tinyShape(group.shape),
    pairs: Math.max(8, group.pairs / 512),
    ...(group.warmPairs === undefined ? {} : { warmPairs: 4 }),
    jobs: group.jobs.map((job) => ({
      ...job,
      estimate: 0,
      ...(job.ours ? { ours: { ...job.ours, chunk: small(job.ours.chunk) } } : {}),
      ...(job.peer ? { peer: { ...job.peer, chunk: job.peer.chunk / 64, compile: false } } : {}),
    })),
  }));
}
