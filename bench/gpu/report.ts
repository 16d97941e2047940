import { table } from '../support/results.js';
import type { Group, Job } from './jobs.js';
import { groups as allGroups } from './plan.js';
import { measured, type CheckRecord, type Measured, type Record } from './records.js';
import { SHAPES, type Shape } from './models.js';

const GIB = 2 ** 30;

interface Row {
  readonly job: Job;
  readonly result: Measured;
}

const thousands = (rate: number) => `${Math.round(rate / 1000)}k`;
const gib = (bytes: number) => Number((bytes / GIB).toFixed(2));

function rowsOf(records: readonly Record[], group: Group): Row[] {
  return group.jobs.flatMap((job) => {
    const result = measured(records, group.id, job.id);
    return result === null || typeof result === 'string' ? [] : [{ job, result }];
  });
}

const fastest = (rows: readonly Row[]) =>
  rows.reduce<Row | undefined>(
    (best, row) => (best && best.result.rate >= row.result.rate ? best : row),
    undefined,
  );

function groupTable(records: readonly Record[], group: Group): string | null {
  const rows = rowsOf(records, group);
  if (rows.length === 0) return null;
  const rival = fastest(rows.filter(({ job }) => job.peer && job.peer.name !== 'full'))?.result.rate;
  const lines = group.jobs.flatMap((job) => {
    const result = measured(records, group.id, job.id);
    if (result === null) return [];
    if (typeof result === 'string') return [[job.label, job.setting, result.slice(0, 80), '', '', '', '']];
    const { seconds, steps, rate, peak, last } = result;
    const passes = last.passes
      ? [last.passes.forward, last.passes.loss, last.passes.backward].map((ms) => Math.round(ms)).join(' + ')
      : '';
    return [
      [
        job.label,
        job.setting,
        seconds.toFixed(3),
        thousands(rate),
        rival ? (rate / rival).toFixed(2) : '',
        gib(peak),
        `${steps}`,
        passes,
      ],
    ];
  });
  const shape: Shape = SHAPES[group.shape];
  const { last } = rows[0]!.result;
  return [
    `#### ${group.kind}, ${group.pairs.toLocaleString('en')} pairs, ${shape.layers} layers of ${shape.hidden}, ${shape.config ? `${String(shape.config.model_type)}, ` : ''}${group.lora === undefined ? '' : `adapters of rank ${group.lora}, `}dropout ${group.dropout}${group.precision ? `, ${group.precision}` : ''}`,
    '',
    `${last.tokens!.toLocaleString('en')} real tokens.`,
    '',
    table(
      [
        '',
        'chunk',
        'seconds a step',
        'real tokens/s',
        'of the best rival',
        'peak GiB',
        'steps timed',
        'ms forward + loss + backward',
      ],
      lines,
    ),
  ].join('\n');
}

/** The memory of a comparison, and how many times the rate of the best rival ours must be in it. */
interface Comparison {
  readonly what: string;
  readonly group: string;
  /** In bytes, for ours and for rivals; null: the whole card. */
  readonly memory: number | null;
  readonly times?: number;
}

const COMPARISONS: readonly Comparison[] = [
  { what: 'BERT-base, uniform', group: 'base-uniform-8192', memory: 15 * GIB },
  { what: 'BERT-base, uniform', group: 'base-uniform-8192', memory: null },
  { what: 'BERT-base, natural', group: 'base-natural-8192', memory: 15 * GIB, times: 2 },
  { what: 'BERT-base, natural', group: 'base-natural-8192', memory: null, times: 2.1 },
  { what: 'MiniLM-L6, uniform', group: 'mini-uniform-8192', memory: 15 * GIB },
  { what: 'MiniLM-L6, natural', group: 'mini-natural-8192', memory: 15 * GIB },
  { what: 'MiniLM-L6, natural', group: 'mini-natural-8192', memory: null },
  { what: 'ModernBERT-base, natural to 512', group: 'modernbert-natural-8192', memory: null, times: 1.8 },
  { what: 'ModernBERT-base, uniform 512', group: 'modernbert-uniform-2048', memory: null, times: 1.8 },
  { what: 'ModernBERT-base, natural to 8,192', group: 'modernbert-long-256', memory: null, times: 1.8 },
  { what: 'Qwen3-Embedding-0.6B', group: 'qwen3-natural-8192', memory: null, times: 1.5 },
  { what: 'Qwen3-Embedding-0.6B, LoRA', group: 'qwen3-lora-natural-8192', memory: null, times: 1.5 },
  { what: 'EmbeddingGemma', group: 'gemma-natural-8192', memory: null, times: 1.5 },
  { what: 'Qwen3-8B, LoRA', group: 'qwen3-8b-lora-natural-4096', memory: 80e9 },
  { what: 'Qwen3-8B, LoRA', group: 'qwen3-8b-lora-natural-4096', memory: null, times: 1.5 },
];

/** Ours beside the best rival that has as much memory. */
function comparisonTable(records: readonly Record[]): string {
  const lines = COMPARISONS.flatMap(({ what, group: id, memory, times }) => {
    const group = allGroups.find((each) => each.id === id)!;
    const rows = rowsOf(records, group).filter(({ result }) => result.peak <= (memory ?? Infinity));
    const mine = fastest(rows.filter(({ job }) => job.ours));
    const rival = fastest(rows.filter(({ job }) => job.peer && job.peer.name !== 'full'));
    if (!mine) return [];
    const ratio = rival ? mine.result.rate / rival.result.rate : NaN;
    const figures = ({ result }: Row) => `${thousands(result.rate)}, ${gib(result.peak)} GiB`;
    return [
      [
        what,
        group.pairs.toLocaleString('en'),
        memory === null ? 'the whole card' : `within ${gib(memory)} GiB`,
        figures(mine),
        rival ? `${rival.job.label}, ${rival.job.setting}: ${figures(rival)}` : 'none',
        rival ? ratio.toFixed(2) : '',
        times === undefined || !rival ? '' : `${times}: ${ratio >= times ? 'met' : 'missed'}`,
      ],
    ];
  });
  return table(['', 'pairs', 'memory', 'ours', 'the best rival', 'times', 'must'], lines);
}

/** How much longer the cached step takes than our step without a cache, where the latter fits into memory. */
function overheadTable(records: readonly Record[]): string | null {
  const rows = rowsOf(
    records,
    allGroups.find(({ id }) => id === 'base-uniform-1024')!,
  );
  const seconds = (test: (job: Job) => boolean) =>
    fastest(rows.filter(({ job }) => test(job)))?.result.seconds ?? NaN;
  const whole = seconds(({ ours }) => typeof ours?.retain === 'object');
  const lines = (
    [
      ['graphs kept', (job: Job) => job.ours?.retain === 'auto', 1.05],
      [
        "the last chunk's graph alone, which takes no memory",
        (job: Job) => job.ours !== undefined && job.ours.retain === undefined && job.ours.chunk !== 'auto',
        1.3,
      ],
    ] as const
  ).flatMap(([what, test, must]) => {
    const ratio = seconds(test) / whole;
    if (!Number.isFinite(ratio)) return [];
    return [[what, ratio.toFixed(3), `${must}: ${ratio <= must ? 'met' : 'missed'}`]];
  });
  if (lines.length === 0) return null;
  return table(['1,024 pairs uniform', `of our uncached step, ${whole.toFixed(3)} s`, 'must'], lines);
}

/** How many times as fast products in tf32 make a step in float32. */
function tf32Line(records: readonly Record[]): string | null {
  const rows = rowsOf(
    records,
    allGroups.find(({ id }) => id === 'base-natural-1024-tf32')!,
  ).filter(({ job }) => job.ours);
  const seconds = (precision: Job['precision']) =>
    rows.find(({ job }) => job.precision === precision)?.result.seconds ?? NaN;
  const times = seconds(undefined) / seconds('tf32');
  if (!Number.isFinite(times)) return null;
  const must = 3;
  return `BERT-base, 1,024 pairs natural: a step in tf32 is ${times.toFixed(2)} times as fast as one in float32 (${must}: ${times >= must ? 'met' : 'missed'}).`;
}

/** Peak memory of one chunk size from the smallest batch to the largest, beside what must grow. */
function memoryTable(records: readonly Record[]): string | null {
  const points = allGroups
    .filter(
      ({ shape, kind, dropout, precision }) =>
        shape === 'base' && kind === 'uniform' && dropout > 0 && precision === undefined,
    )
    .flatMap((group) =>
      rowsOf(records, group)
        .filter(({ job }) => job.id === 'ours-32768')
        .map((row) => ({ group, row })),
    )
    .sort((a, b) => a.group.pairs - b.group.pairs);
  const first = points[0];
  if (points.length < 2 || !first) return null;
  const bound = (group: Group, tokens: number) => 2 * 2 * group.pairs * SHAPES.base.hidden * 4 + tokens * 4;
  const mib = (bytes: number) => Number((bytes / 2 ** 20).toFixed(0));
  return table(
    ['pairs', 'peak MiB', 'growth', 'representations, gradients and ids'],
    points.map(({ group, row }) => [
      group.pairs,
      mib(row.result.peak),
      mib(row.result.peak - first.row.result.peak),
      mib(bound(group, row.result.last.tokens!) - bound(first.group, first.row.result.last.tokens!)),
    ]),
  );
}

function checkLines(records: readonly Record[]): string[] {
  const number = (value: unknown) =>
    typeof value === 'number' ? String(Number(value.toPrecision(6))) : String(value);
  return records
    .filter((entry): entry is CheckRecord => entry.record === 'check')
    .map(({ record: _record, check: _check, title, ...values }) => {
      const parts = Object.entries(values).map(
        ([name, value]) =>
          `${name} ${Array.isArray(value) ? value.map(number).join(value.length > 2 ? ', ' : ' and ') : number(value)}`,
      );
      return `- ${title}: ${parts.join(', ')}.`;
    });
}

/** The section of RESULTS.md. */
export function report(records: readonly Record[]): string {
  const machine = records.find((entry) => entry.record === 'machine');
  const parts: (string | null)[] = [];
  if (machine) {
    const { gpu, driver, node, peers, teraflops } = machine;
    const versions = Object.entries(peers).filter(([name]) => name !== 'device');
    parts.push(
      `${gpu}, driver ${driver}, Node ${node}, ${versions.map(([name, version]) => `${name} ${version}`).join(', ')}. ` +
        `8192 x 8192 x 8192 products in bf16 ran at ${Math.round(teraflops)} TFLOP/s before.`,
    );
  }
  parts.push(
    'bf16 unless said otherwise, fused AdamW, temperature 0.05, dropout on hidden states and attention alike. Blocks of steps of ours and of theirs ' +
      'take turns on the one card, each beginning with a step that is not timed; a row is the median of all timed steps. Tokens ' +
      'are real ones: padding does not count. The peak is what the allocator handed out at most in the timed steps, weights and ' +
      'optimizer included. A rival far behind the best one in the first round is not run again.',
    '### Beside the best rival',
    comparisonTable(records),
    overheadTable(records),
    tf32Line(records),
    '### Everything',
    ...allGroups.map((group) => groupTable(records, group)),
  );
  const memory = memoryTable(records);
  if (memory) parts.push('### Memory at one chunk', memory);
  const checks = checkLines(records);
  if (checks.length > 0) parts.push('### Checks', checks.join('\n'));
  const notes = records.flatMap((entry) => (entry.record === 'note' ? [`- ${entry.text}`] : []));
  if (notes.length > 0) parts.push('### Not run', notes.join('\n'));
  return parts.filter((part) => part !== null).join('\n\n');
}
