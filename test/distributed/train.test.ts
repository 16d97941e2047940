import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import type { LossKind } from '../../lib/losses/loss-kind.js';
import { LOSSES } from '../../lib/losses/loss-kinds.js';
import type { TrainConfig } from '../../lib/training/config.js';
import type { EvaluationEvent, StartEvent, StepEvent, TrainEvent } from '../../lib/training/events.js';
import { gradcache } from '../cli/program.js';
import { MUST } from '../losses/settings.js';
import { BINARY, headOf, modelFor, pairRowsFor, rowsFor } from '../training/loss-rows.js';
import { digests, pairs, record, shortRun, writeRows } from '../training/support.js';
import { runRanks } from './start-ranks.js';

/** What a run told a rank. */
interface Told {
  readonly code?: string;
  readonly message?: string;
  readonly events: readonly TrainEvent[];
}

/** Runs trainings one after another over ranks; each has a configuration for each rank. @returns what each told each rank */
async function trainEach(folder: string, runs: readonly (readonly TrainConfig[])[]): Promise<Told[][]> {
  const file = join(folder, 'runs.json');
  await writeFile(file, JSON.stringify(runs));
  return runRanks<Told[]>(runs[0]!.length, 'train-program.js', [file]);
}

/** Runs the command line over ranks of this machine. */
async function trainOver(ranks: number, folder: string, config: TrainConfig): Promise<TrainEvent[]> {
  const file = join(folder, 'run.json');
  await writeFile(file, JSON.stringify(config));
  const { code, stdout, stderr } = await gradcache([
    ...['train', '--config', file, '--ranks', String(ranks), '--json'],
  ]);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  const lines = stdout.trim().split('\n');
  return lines.map((line) => JSON.parse(line) as TrainEvent);
}

const ofType = <T extends TrainEvent>(events: readonly TrainEvent[], type: T['type']): T[] =>
  events.filter((event): event is T => event.type === type);

/** A run whose batches and last batch do not come out even on two ranks. */
async function unevenRun(t: TestContext): Promise<{ folder: string; config: TrainConfig }> {
  const { folder, config } = await shortRun(t);
  const { steps: _, ...others } = config;
  // 17, 17, 17 and 9 of 60 rows.
  return { folder, config: { ...others, batch: 17, epochs: 1 } };
}

test('two ranks train what one does, and rank 0 writes and tells it', async (t) => {
  const { folder, config } = await unevenRun(t);
  const held = await writeRows(join(folder, 'held.jsonl'), pairs(23));
  const candidates = await writeRows(
    join(folder, 'candidates.jsonl'),
    pairs(9).map(({ anchor, positive }) => ({ query: anchor, positive, negative: ['a ship', 'the sea'] })),
  );
  const exact: TrainConfig = {
    ...config,
    dropout: 0,
    loss: { temperature: 0.05, learned: true },
    evaluation: {
      data: held,
      task: 'retrieval',
      loss: true,
      every: 2,
      sets: {
        words: { task: 'translation', data: held, columns: ['anchor', 'positive'] },
        candidates: { task: 'reranking', data: candidates },
      },
    },
    checkpoint: { every: 3, keep: 1 },
  };
  const alone = await record({ ...exact, output: join(folder, 'alone') });
  const events = await trainOver(2, folder, exact);
  const steps = ofType<StepEvent>(events, 'step');
  assert.deepEqual(
    steps.map(({ step, pairs }) => [step, pairs]),
    [
      [1, 17],
      [2, 17],
      [3, 17],
      [4, 9],
    ],
  );
  for (const [place, { loss, gradNorm, temperature, tokens }] of alone.steps.entries()) {
    const other = steps[place]!;
    assert.ok(Math.abs(other.loss - loss) < 1e-6, `step ${place + 1}: ${other.loss} and ${loss}`);
    assert.ok(Math.abs(other.gradNorm - gradNorm) < 1e-5 * gradNorm);
    assert.ok(Math.abs(other.temperature! - temperature!) < 1e-6);
    assert.equal(other.tokens, tokens);
  }
  const measured = [alone.events, events].map((each) => ofType<EvaluationEvent>(each, 'evaluation'));
  assert.equal(measured[1]!.length, 2);
  assert.ok('words.mean_accuracy' in measured[1]![0]!.scores && 'candidates.map' in measured[1]![0]!.scores);
  for (const [place, { scores }] of measured[0]!.entries())
    for (const [name, score] of Object.entries(scores))
      assert.ok(Math.abs(measured[1]![place]!.scores[name]! - score) < 1e-5, name);
  const [start] = ofType<StartEvent>(events, 'start');
  assert.deepEqual([start!.ranks, start!.device, start!.rows, start!.leftOver], [2, 'cpu', 60, 0]);

  // A line for each event of rank 0, and nothing of a second writer.
  const written = (await readFile(join(config.output, 'metrics.jsonl'), 'utf8')).trim().split('\n');
  assert.deepEqual(
    written.map((line) => (JSON.parse(line) as TrainEvent).type),
    events.slice(0, -1).map(({ type }) => type), // the last line of the output is the result
  );
  assert.deepEqual((await readdir(config.output)).sort(), [
    'checkpoint-3',
    'hardest.json',
    'metrics.jsonl',
    'model',
    'settings.json',
  ]);
});

test('a run over two ranks that share an optimizer is resumed bit for bit, with another number of ranks, and in a ring', async (t) => {
  const { folder, config } = await unevenRun(t);
  const whole = { ...config, divideOptimizer: true, overlap: true, checkpoint: { every: 2, keep: 9 } };
  const resume = join(config.output, 'checkpoint-2');
  const same = { ...whole, output: join(folder, 'same'), resume };
  const broken = { ...config, output: join(folder, 'broken'), optimizer: { lr: 1e30 } };
  const [first, second] = (await trainEach(folder, [
    [broken, broken],
    [whole, whole],
    [same, same],
  ])) as [Told[], Told[]];
  // Ranks that have failed together go on with the next run.
  for (const { code, message } of [first[0]!, second[0]!]) {
    assert.equal(code, 'NON_FINITE');
    assert.match(message!, /^Step \d \(epoch 0, batch \d\) was not made/);
  }
  const [, , resumed] = first;
  assert.equal(ofType<StartEvent>(resumed!.events, 'start')[0]!.done, 2);
  // The run itself has one, on its small batches, and none on settings.
  assert.doesNotMatch(JSON.stringify(ofType(resumed!.events, 'note')), / was .*, now /);
  assert.deepEqual(await digests(join(same.output, 'model')), await digests(join(config.output, 'model')));
  const trainer = await readFile(join(config.output, 'checkpoint-4', 'trainer.json'), 'utf8');
  assert.equal((JSON.parse(trainer) as { ranks: number }).ranks, 2);

  const three = { ...whole, divideOptimizer: false, output: join(folder, 'three'), resume };
  const ring: TrainConfig = { ...three, exchange: 'ring', output: join(folder, 'ring') };
  const noRing: TrainConfig = {
    ...config,
    exchange: 'ring',
    memory: { capacity: 20 },
    output: join(folder, 'no'),
  };
  // The last two of ten rows fill half a batch, but not a row for each rank.
  const few = { ...config, output: join(folder, 'few'), data: join(folder, 'few.jsonl'), batch: 4 };
  await writeRows(few.data, pairs(10));
  const [[told, left, inRing, refused]] = (await trainEach(folder, [
    [three, three, three],
    [few, few, few],
    [ring, ring, ring],
    [noRing, noRing, noRing],
  ])) as [Told[]];
  assert.equal(ofType<StartEvent>(left!.events, 'start')[0]!.leftOver, 2);
  assert.deepEqual(
    ofType<StepEvent>(left!.events, 'step').map((step) => step.pairs),
    [4, 4],
  );
  const [start] = ofType<StartEvent>(told!.events, 'start');
  assert.deepEqual([start!.ranks, ofType(told!.events, 'step').length], [3, 2]);
  assert.match(JSON.stringify(ofType(told!.events, 'note')), /the run was on 2 ranks, now on 3/);
  const [gathered, passed] = [told!, inRing!].map(({ events }) => ofType<StepEvent>(events, 'step'));
  assert.equal(passed!.length, 2);
  for (const [place, { loss, gradNorm }] of gathered!.entries()) {
    assert.ok(Math.abs(passed![place]!.loss / loss - 1) < 1e-5);
    assert.ok(Math.abs(passed![place]!.gradNorm / gradNorm - 1) < 1e-4);
  }
  assert.match(JSON.stringify(ofType(inRing!.events, 'note')), /exchange was .*gather.*, now .*ring/);
  assert.deepEqual([refused!.code, /^exchange is 'ring'/.test(refused!.message!)], ['INPUT', true]);
});

test('what ranks do not have in common is named, with the rank, before anything is trained', async (t) => {
  const { folder, config } = await shortRun(t);
  const others = await writeRows(join(folder, 'others.jsonl'), pairs().toReversed());
  const cases: [TrainConfig, RegExp][] = [
    [
      { ...config, optimizer: { lr: 2e-2 } },
      /config\.optimizer is .*0\.01.* on rank 0 and .*0\.02.* on rank 1/,
    ],
    [{ ...config, data: others }, /the digest of the rows of batch 0 of epoch 0 is .* on rank 1/],
    [{ ...config, data: join(folder, 'missing.jsonl') }, /^rank 1: .*missing\.jsonl/],
    [{ ...config, batch: 1 }, /^rank 1: config\.batch is 1/],
    [
      { ...config, exchange: 'ring', columns: ['anchor', 'positive'], lists: ['positive'] },
      /^rank 1: config\.exchange is "ring"; "gather", beside lists of texts/,
    ],
  ];
  const before = await readdir(folder);
  const told = await trainEach(
    folder,
    cases.map(([other]) => [config, other]),
  );
  for (const [place, [, problem]] of cases.entries()) {
    const [first, second] = told.map((ofRank) => ofRank[place]!);
    assert.match(first!.message ?? 'none', problem);
    assert.equal(first!.code, second!.code);
  }
  assert.deepEqual((await readdir(folder)).sort(), [...before, 'runs.json'].sort());
});

const KINDS = Object.entries(LOSSES) as unknown as [string, LossKind<never>][];

test('a run with any loss is over two ranks what it is over one', async (t) => {
  const { folder, config } = await shortRun(t);
  const runs: TrainConfig[] = [];
  const held = await writeRows(join(folder, 'held.jsonl'), pairs(11));
  const candidates = pairs(11).map(({ anchor, positive }, row) => ({
    query: anchor,
    positive: [positive],
    negative: [pairs(12)[row + 1]!.positive, 'a ship'],
  }));
  const ranked = await writeRows(join(folder, 'ranked.jsonl'), candidates);
  /** Of each kind of model one is measured. */
  const measured: Record<string, object> = {
    splade: { data: held },
    'multi-vector-multiple-negatives-ranking': { data: held },
    'binary-cross-entropy': { data: ranked },
  };
  for (const [kind, about] of KINDS) {
    const ofPairs = about.pairs !== undefined;
    const rows = ofPairs ? pairRowsFor(about, 23) : rowsFor(about, 23);
    const given = BINARY.includes(kind) ? rows.map((row, k) => ({ ...row, score: k % 2 })) : rows;
    runs.push({
      ...config,
      ...(ofPairs ? { newHead: headOf(about) } : modelFor(about)),
      data: await writeRows(join(folder, `${kind}.jsonl`), given),
      loss: { kind, ...MUST[kind] } as NonNullable<TrainConfig['loss']>,
      ...(measured[kind] && { evaluation: measured[kind] }),
    });
  }
  runs.push({ ...config, memory: { capacity: 35, momentum: 0.9 } });
  runs.push({ ...config, matryoshka: { dimensions: [16, 8, 4], dimensionsPerStep: 2 } });
  runs.push({ ...config, groupByLabel: true, ...labelled(runs) });
  runs.push(...(await withLists(folder, config)));
  const whole = runs.map((run, place) => ({
    ...run,
    batch: 12,
    steps: 2,
    dropout: 0,
    output: join(folder, `${place}`),
  }));
  const [shared] = await trainEach(
    folder,
    whole.map((run) => [run, run]),
  );
  const problems: string[] = [];
  for (const [place, run] of whole.entries()) {
    const { steps, events: told } = await record({ ...run, output: join(folder, `alone-${place}`) });
    const name = JSON.stringify({ ...run.loss, memory: run.memory, matryoshka: run.matryoshka });
    const { message, events } = shared![place]!;
    if (message !== undefined) problems.push(`${name}: ${message}`);
    for (const [number, other] of ofType<StepEvent>(events, 'step').entries()) {
      const alone = steps[number]!;
      const same =
        Math.abs(other.loss - alone.loss) < 1e-5 * Math.max(1, Math.abs(alone.loss)) &&
        Math.abs(other.gradNorm - alone.gradNorm) < 1e-4 * Math.max(0.1, alone.gradNorm) &&
        isDeepStrictEqual(countsOf(other), countsOf(alone));
      if (!same) problems.push(`${name}: ${JSON.stringify(other)}, alone ${JSON.stringify(alone)}`);
    }
    const [scores, own] = [events, told].map(
      (each) => ofType<EvaluationEvent>(each, 'evaluation')[0]?.scores,
    );
    for (const [score, value] of Object.entries(own ?? {}))
      // Whether a number is 0 hangs on rounding.
      if (!(Math.abs(scores![score]! - value) < (score.endsWith('active-dims') ? 1e-3 * value : 1e-5)))
        problems.push(`${name}: ${score} ${scores![score]}, alone ${value}`);
  }
  assert.deepEqual(problems, []);
});

/** Runs on rows with lists: of ragged ones, and of a single further text, which one of two ranks has. */
async function withLists(folder: string, config: TrainConfig): Promise<TrainConfig[]> {
  const columns = { columns: ['query', 'pos', 'neg'], lists: ['pos', 'neg'] };
  const rows = (more: (row: number) => number) =>
    pairs(24).map(({ anchor, positive }, row) => ({
      query: anchor,
      pos: [positive, ...(more(row) > 1 ? [`${positive} indeed`] : [])],
      neg: Array.from({ length: more(row) }, (_, number) => `a stone ${number} of row ${row % 9}`),
      topic: row % 5,
    }));
  const ragged = await writeRows(
    join(folder, 'ragged.jsonl'),
    rows((row) => row % 4),
  );
  const single = await writeRows(
    join(folder, 'single.jsonl'),
    rows((row) => (row % 12 === 5 ? 1 : 0)),
  );
  return [
    { ...config, ...columns, data: ragged, loss: { maskDuplicates: true } },
    { ...config, ...columns, data: ragged, ids: 'topic' },
    {
      ...config,
      columns: ['query', 'topic_text'],
      data: await writeRows(
        join(folder, 'topics.jsonl'),
        pairs(24).map(({ anchor, positive }, row) => ({
          query: anchor,
          topic_text: positive,
          topic: [row % 5, row],
        })),
      ),
      ids: 'topic',
      memory: { capacity: 35 },
    },
    {
      ...config,
      ...columns,
      data: ragged,
      shuffle: false,
      loss: { hardnessMode: 'hard_negatives', hardnessStrength: 2 },
    },
    { ...config, ...columns, data: single, shuffle: false, overlap: true },
  ];
}

const countsOf = ({ pairs, tokens, truncated }: StepEvent) => ({ pairs, tokens, truncated });

/** A run with a loss over the triplets of a batch. */
function labelled(runs: readonly TrainConfig[]): Partial<TrainConfig> {
  const { data, loss } = runs.find((run) => run.loss?.kind === 'batch-hard-triplet')!;
  return { data: data, loss: loss! };
}
