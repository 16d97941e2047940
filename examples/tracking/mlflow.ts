/**
 * A training run that an MLflow server shows: settings as parameters, steps and scores as metrics, by MLflow's REST API.
 *
 *     mlflow server --port 5000
 *     MLFLOW_TRACKING_URI=http://127.0.0.1:5000 node dist/examples/tracking/mlflow.js MODEL PAIRS.jsonl OUTPUT [BATCH [HELD_OUT.jsonl]]
 *
 * MLFLOW_EXPERIMENT_NAME, MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD mean what they mean in
 * MLflow's own client.
 */
import { basename } from 'node:path';
import { train, type TrainEvent } from 'gradcache';
import { figuresOf, flatSettings } from './figures.js';
import { Outbox } from './outbox.js';

interface Metric {
  readonly key: string;
  readonly value: number;
  /** Milliseconds. */
  readonly timestamp: number;
  readonly step: number;
}

/** MLflow's limits of a request, and of the text of a parameter. */
const METRICS = 1000;
const PARAMETERS = 100;
const PARAMETER_TEXT = 6000;

const {
  MLFLOW_TRACKING_URI: server = 'http://127.0.0.1:5000',
  MLFLOW_TRACKING_TOKEN: token,
  MLFLOW_TRACKING_USERNAME: user,
  MLFLOW_TRACKING_PASSWORD: password = '',
  MLFLOW_EXPERIMENT_NAME: experimentName = 'gradcache',
} = process.env;

/** Calls a method of the API. */
async function call<Answer>(method: 'GET' | 'POST', path: string, content: object): Promise<Answer> {
  const url = new URL(`${server.replace(/\/$/, '')}/api/2.0/mlflow/${path}`);
  if (method === 'GET')
    for (const [name, value] of Object.entries(content)) url.searchParams.set(name, String(value));
  const basic = user === undefined ? undefined : `Basic ${btoa(`${user}:${password}`)}`;
  const authorization = token === undefined ? basic : `Bearer ${token}`;
  const response = await fetch(url, {
    method,
    headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
    ...(method === 'POST' && { body: JSON.stringify(content) }),
    signal: AbortSignal.timeout(30_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`MLflow answers ${path} with ${response.status}: ${text.slice(0, 300)}`);
  return JSON.parse(text) as Answer;
}

/** The experiment of a name, which is made where there is none. */
async function experimentId(name: string): Promise<string> {
  interface Found {
    readonly experiment: { readonly experiment_id: string };
  }
  const found = await call<Found>('GET', 'experiments/get-by-name', { experiment_name: name }).catch(
    (error: unknown) => {
      if (String(error).includes('RESOURCE_DOES_NOT_EXIST')) return null;
      throw error;
    },
  );
  if (found !== null) return found.experiment.experiment_id;
  return (await call<{ experiment_id: string }>('POST', 'experiments/create', { name })).experiment_id;
}

/** A run of MLflow that a training run tells its events. */
class MlflowRun {
  readonly #metrics: Outbox<Metric>;
  readonly #parameters: Outbox<{ key: string; value: string }>;

  private constructor(readonly id: string) {
    const log = (what: object) => call('POST', 'runs/log-batch', { run_id: id, ...what });
    this.#metrics = new Outbox(METRICS, async (metrics) => void (await log({ metrics })));
    this.#parameters = new Outbox(PARAMETERS, async (params) => void (await log({ params })));
  }

  static async start(experiment: string, name: string): Promise<MlflowRun> {
    const content = { experiment_id: experiment, run_name: name, start_time: Date.now() };
    const { run } = await call<{ run: { info: { run_id: string } } }>('POST', 'runs/create', content);
    return new MlflowRun(run.info.run_id);
  }

  /** For `onEvent`: returns at once. */
  readonly tell = (event: TrainEvent): void => {
    const told = figuresOf(event);
    if (event.type === 'start')
      this.#parameters.add(
        Object.entries(flatSettings(event.settings)).map(([key, value]) => ({
          key,
          value: value.slice(0, PARAMETER_TEXT),
        })),
      );
    else if (told !== null)
      this.#metrics.add(
        Object.entries(told.figures).map(([name, value]) => ({
          key: name.replaceAll('@', '_at_'), // a name of MLflow has no @
          value,
          timestamp: Date.now(),
          step: told.step,
        })),
      );
  };

  async end(status: 'FINISHED' | 'FAILED'): Promise<void> {
    await this.#parameters.close();
    await this.#metrics.close();
    await call('POST', 'runs/update', { run_id: this.id, status, end_time: Date.now() });
  }
}

async function main([model, data, output, batch = '256', heldOut]: readonly string[]): Promise<void> {
  if (model === undefined || data === undefined || output === undefined)
    throw new Error('usage: mlflow.js MODEL PAIRS.jsonl OUTPUT [BATCH [HELD_OUT.jsonl]]');
  const run = await MlflowRun.start(await experimentId(experimentName), basename(output));
  try {
    const evaluation = heldOut === undefined ? undefined : { data: heldOut, before: true };
    await train(
      { model, data, output, batch: Number(batch), ...(evaluation && { evaluation }) },
      { onEvent: run.tell },
    );
  } catch (error) {
    await run.end('FAILED').catch(console.error); // the first error is the one to tell
    throw error;
  }
  await run.end('FINISHED');
  console.log(`run ${run.id} of ${experimentName} at ${server}`);
}

await main(process.argv.slice(2));
