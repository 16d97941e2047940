/** The examples that show a run in MLflow and in W&B, against servers that take what those services document and take. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { TrainEvent } from '../../lib/training/events.js';
import { eventsOf } from '../../lib/training/metrics.js';
import { figuresOf } from '../../examples/tracking/figures.js';
import { Outbox } from '../../examples/tracking/outbox.js';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';

interface Request {
  readonly route: string;
  readonly authorization: string | undefined;
  readonly content: Record<string, unknown>;
}

/** A service on this machine, and what it was asked. A string is a refusal. */
async function serviceOf(
  t: TestContext,
  answer: (request: Request) => object | string,
): Promise<{ url: string; asked: Request[] }> {
  const asked: Request[] = [];
  const server = createServer((incoming, response) => {
    let text = '';
    incoming.setEncoding('utf8').on('data', (part: string) => (text += part));
    incoming.on('end', () => {
      const { pathname, searchParams } = new URL(incoming.url!, 'http://localhost');
      const content = (text === '' ? Object.fromEntries(searchParams) : JSON.parse(text)) as object;
      const request = {
        route: `${incoming.method} ${pathname}`,
        authorization: incoming.headers.authorization,
        content: { ...content },
      };
      asked.push(request);
      const answered = answer(request);
      response.writeHead(typeof answered === 'string' ? 404 : 200, { 'content-type': 'application/json' });
      response.end(typeof answered === 'string' ? answered : JSON.stringify(answered));
    });
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

/** Trains by an example, and gives what the run told. */
async function trained(
  t: TestContext,
  example: string,
  env: Record<string, string>,
): Promise<{ said: string; steps: TrainEvent[]; scores: Record<string, number>[] }> {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const output = join(folder, 'run');
  const program = fileURLToPath(new URL(`../../examples/tracking/${example}.js`, import.meta.url));
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [program, model, data, output, '20', data],
    { env: { ...process.env, ...env } },
  );
  const events = await eventsOf(output);
  return {
    said: stdout + stderr,
    steps: events.filter(({ type }) => type === 'step'),
    scores: events.flatMap((event) => (event.type === 'evaluation' ? [event.scores] : [])),
  };
}

const MLFLOW = '/api/2.0/mlflow';

test('MLflow gets settings, steps and scores in requests that it takes', async (t) => {
  interface Metric {
    readonly key: string;
    readonly value: number;
    readonly step: number;
  }
  const { url, asked } = await serviceOf(t, ({ route }) => {
    if (route === `GET ${MLFLOW}/experiments/get-by-name`) return '{"error_code":"RESOURCE_DOES_NOT_EXIST"}';
    if (route === `POST ${MLFLOW}/experiments/create`) return { experiment_id: '7' };
    if (route === `POST ${MLFLOW}/runs/create`) return { run: { info: { run_id: 'abc' } } };
    return /POST .*\/runs\/(log-batch|update)$/.test(route) ? {} : 'there is no such method';
  });
  const { said, steps, scores } = await trained(t, 'mlflow', {
    MLFLOW_TRACKING_URI: `${url}/`,
    MLFLOW_TRACKING_TOKEN: 'a-token',
    MLFLOW_EXPERIMENT_NAME: 'dogs',
  });
  assert.equal(said, `run abc of dogs at ${url}/\n`);
  assert.ok(asked.every(({ authorization }) => authorization === 'Bearer a-token'));
  const contents = (method: string) =>
    asked.filter(({ route }) => route.endsWith(`/${method}`)).map(({ content }) => content);
  assert.deepEqual(contents('experiments/get-by-name'), [{ experiment_name: 'dogs' }]);
  const [{ start_time: start, ...created }] = contents('runs/create') as [{ start_time: number }];
  assert.ok(Math.abs(Date.now() - start) < 600_000, 'milliseconds');
  assert.deepEqual(created, { experiment_id: '7', run_name: 'run' });

  const metrics: Metric[] = [];
  const parameters = new Map<string, string>();
  for (const { run_id, metrics: some = [], params = [], ...others } of contents('runs/log-batch') as {
    run_id: string;
    metrics?: (Metric & { timestamp: number })[];
    params?: { key: string; value: string }[];
  }[]) {
    assert.deepEqual([run_id, others], ['abc', {}]);
    assert.ok(some.length <= 1000 && params.length <= 100);
    for (const { timestamp, ...metric } of some) {
      assert.deepEqual(
        [typeof metric.value, Number.isInteger(timestamp), Number.isInteger(metric.step)],
        ['number', true, true],
      );
      assert.match(metric.key, /^[\w\-. /:]{1,250}$/);
      metrics.push(metric);
    }
    for (const { key, value } of params) parameters.set(key, value);
  }
  const of = (key: string) => metrics.filter((metric) => metric.key === key);
  assert.deepEqual(
    of('loss').map(({ step, value }) => ({ step, loss: value })),
    steps.map((event) => event.type === 'step' && { step: event.step, loss: event.loss }),
  );
  assert.deepEqual(
    of('recall_at_10').map(({ value }) => value),
    scores.map((score) => score['recall@10']),
  );
  assert.equal(scores.length, 2);
  assert.deepEqual(
    ['batch', 'optimizer.lr', 'loss.kind'].map((key) => parameters.get(key)),
    ['20', '0.00002', 'infonce'],
  );
  const [{ end_time: end, ...ended }] = contents('runs/update') as [{ end_time: number }];
  assert.ok(end >= start);
  assert.deepEqual(ended, { run_id: 'abc', status: 'FINISHED' });
});

test('a service that stops taking figures does not end the run, which says what is lost', async (t) => {
  const { url } = await serviceOf(t, ({ route }) => {
    if (route.endsWith('/get-by-name')) return { experiment: { experiment_id: '7' } };
    if (route.endsWith('/runs/create')) return { run: { info: { run_id: 'abc' } } };
    return route.endsWith('/log-batch') ? 'full' : {};
  });
  const { said, steps } = await trained(t, 'mlflow', { MLFLOW_TRACKING_URI: url });
  assert.equal(steps.length, 3);
  assert.match(said, /^\d+ values could not be sent: Error: MLflow answers runs\/log-batch with 404: full$/m);
  assert.match(said, /^run abc of gradcache/m);
});

test('W&B gets the config, a row of the history for each step, and the summary', async (t) => {
  const { url, asked } = await serviceOf(t, ({ route, content }) => {
    if (route !== 'POST /graphql') return {};
    const { name } = content.variables as { name: string };
    return {
      data: { upsertBucket: { bucket: { name, project: { name: 'dogs', entity: { name: 'me' } } } } },
    };
  });
  const key = 'f'.repeat(40);
  const { said, steps, scores } = await trained(t, 'wandb', {
    WANDB_BASE_URL: url,
    WANDB_API_KEY: key,
    WANDB_PROJECT: 'dogs',
  });
  const [, run] = /^run ([0-9a-f]{8}) of me\/dogs\n$/.exec(said)!;
  assert.ok(asked.every(({ authorization }) => authorization === `Basic ${btoa(`api:${key}`)}`));
  const variables = asked
    .filter(({ route }) => route === 'POST /graphql')
    .map(({ content }) => content.variables as Record<string, string>);
  assert.deepEqual(variables[0], { name: run, project: 'dogs', displayName: 'run' });
  const { config, ...place } = variables[1]!;
  assert.deepEqual(place, { name: run, project: 'dogs', entity: 'me' });
  assert.deepEqual((JSON.parse(config!) as Record<string, unknown>).batch, { value: 20 });

  const rows: Record<string, number>[] = [];
  const streamed = asked.filter(({ route }) => route === `POST /files/me/dogs/${run}/file_stream`);
  for (const { content } of streamed) {
    const { 'wandb-history.jsonl': history } = content.files as Record<
      string,
      { offset: number; content: string[] }
    >;
    if (history === undefined) continue;
    assert.equal(history.offset, rows.length);
    rows.push(...history.content.map((line) => JSON.parse(line) as Record<string, number>));
  }
  assert.deepEqual(
    rows.map(({ _step, loss }) => [_step, loss]),
    [[0, undefined], ...steps.map((event) => event.type === 'step' && [event.step, event.loss])],
  );
  assert.deepEqual(
    [rows[0]!['recall@10'], rows.at(-1)!['recall@10']],
    scores.map((score) => score['recall@10']),
  );
  const { files, ...ended } = streamed.at(-1)!.content as {
    files: { 'wandb-summary.json': { content: [string] } };
  };
  assert.deepEqual(ended, { complete: true, exitcode: 0 });
  const summary = JSON.parse(files['wandb-summary.json'].content[0]) as Record<string, number>;
  assert.deepEqual([summary._step, summary.loss], [3, rows.at(-1)!.loss]);
});

test('nothing to send does not keep what comes later from being sent', async () => {
  const sent: number[] = [];
  const outbox = new Outbox<number>(2, async (items) => void sent.push(...items));
  outbox.add([]);
  outbox.add([1, 2, 3]);
  await outbox.close();
  assert.deepEqual(sent, [1, 2, 3]);
});

test('a score that is no finite number is not told', () => {
  const scores = { spearman: NaN, pearson: 0.5, mse: Infinity };
  const told = figuresOf({ type: 'evaluation', step: 3, scores } as unknown as TrainEvent);
  assert.deepEqual(told, { step: 3, figures: { pearson: 0.5 } });
});
