/**
 * A training run that Weights & Biases shows: its settings as the config, steps and scores as the history. There is no client for
 * Node.js; this speaks the HTTP that W&B's own client for Python (0.31) speaks.
 *
 *     WANDB_API_KEY=… node dist/examples/tracking/wandb.js MODEL PAIRS.jsonl OUTPUT [BATCH [HELD_OUT.jsonl]]
 *
 * WANDB_PROJECT, WANDB_ENTITY and WANDB_BASE_URL mean what they mean there. Without a network, `gradcache train --tensorboard FOLDER`
 * writes files that `wandb sync FOLDER` uploads later.
 */
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { train, type TrainEvent } from 'gradcache';
import { figuresOf } from './figures.js';
import { Outbox } from './outbox.js';

/** Lines of a history in one request. */
const LINES = 1000;

const {
  WANDB_API_KEY: key = '',
  WANDB_BASE_URL: server = 'https://api.wandb.ai',
  WANDB_PROJECT: projectName = 'gradcache',
  WANDB_ENTITY: entityName,
} = process.env;

async function post(path: string, content: object): Promise<unknown> {
  const response = await fetch(`${server.replace(/\/$/, '')}/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Basic ${btoa(`api:${key}`)}` },
    body: JSON.stringify(content),
    signal: AbortSignal.timeout(30_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`W&B answers ${path} with ${response.status}: ${text.slice(0, 300)}`);
  return JSON.parse(text);
}

/** Makes a run, or changes one. */
const UPSERT = `mutation UpsertBucket($name: String, $project: String, $entity: String, $displayName: String, $config: JSONString) {
  upsertBucket(input: { name: $name, modelName: $project, entityName: $entity, displayName: $displayName, config: $config }) {
    bucket { name project { name entity { name } } }
  }
}`;

interface Place {
  readonly entity: string;
  readonly project: string;
  readonly run: string;
}

async function upsert(variables: object): Promise<Place> {
  const { data, errors } = (await post('graphql', { query: UPSERT, variables })) as {
    data?: {
      upsertBucket: { bucket: { name: string; project: { name: string; entity: { name: string } } } } | null;
    };
    errors?: readonly { readonly message: string }[];
  };
  const bucket = data?.upsertBucket?.bucket;
  if (bucket === undefined) throw new Error(`W&B made no run: ${errors?.[0]?.message ?? 'no reason given'}`);
  return { entity: bucket.project.entity.name, project: bucket.project.name, run: bucket.name };
}

/** A run of W&B that a training run tells its events. */
class WandbRun {
  readonly #began = Date.now();
  readonly #history: Outbox<string>;
  readonly #config: Outbox<object>;
  #sent = 0;
  /** What is told of the last step so far: a row of the history has all figures of a step. */
  #row: Record<string, number> = {};
  #summary: Record<string, number> = {};

  private constructor(readonly place: Place) {
    const { entity, project, run } = place;
    this.#config = new Outbox(1, async ([config]) => {
      await upsert({ name: run, project, entity, config: JSON.stringify(config) });
    });
    this.#history = new Outbox(LINES, async (content) => {
      await this.#stream({ files: { 'wandb-history.jsonl': { offset: this.#sent, content } } });
      this.#sent += content.length;
    });
  }

  static async start(displayName: string): Promise<WandbRun> {
    const name = randomBytes(4).toString('hex');
    return new WandbRun(await upsert({ name, project: projectName, entity: entityName, displayName }));
  }

  #stream(content: object): Promise<unknown> {
    const { entity, project, run } = this.place;
    return post(`files/${[entity, project, run].map(encodeURIComponent).join('/')}/file_stream`, content);
  }

  /** For `onEvent`: returns at once. */
  readonly tell = (event: TrainEvent): void => {
    if (event.type === 'start') {
      const settings = Object.entries(event.settings).filter(([, value]) => value !== undefined);
      this.#config.add([Object.fromEntries(settings.map(([name, value]) => [name, { value }]))]);
    }
    const told = figuresOf(event);
    if (told === null) return;
    if (told.step !== this.#row._step) this.#closeRow();
    const now = Date.now();
    const when = { _step: told.step, _runtime: (now - this.#began) / 1000, _timestamp: now / 1000 };
    this.#row = { ...this.#row, ...told.figures, ...when };
  };

  #closeRow(): void {
    if (this.#row._step === undefined) return;
    this.#history.add([JSON.stringify(this.#row)]);
    this.#summary = { ...this.#summary, ...this.#row };
    this.#row = {};
  }

  async end(exitcode: number): Promise<void> {
    this.#closeRow();
    await this.#config.close();
    await this.#history.close();
    const summary = { offset: 0, content: [JSON.stringify(this.#summary)] };
    await this.#stream({ files: { 'wandb-summary.json': summary }, complete: true, exitcode });
  }
}

async function main([model, data, output, batch = '256', heldOut]: readonly string[]): Promise<void> {
  if (model === undefined || data === undefined || output === undefined)
    throw new Error('usage: wandb.js MODEL PAIRS.jsonl OUTPUT [BATCH [HELD_OUT.jsonl]]');
  if (key === '') throw new Error('WANDB_API_KEY is not set');
  const run = await WandbRun.start(basename(output));
  try {
    const evaluation = heldOut === undefined ? undefined : { data: heldOut, before: true };
    await train(
      { model, data, output, batch: Number(batch), ...(evaluation && { evaluation }) },
      { onEvent: run.tell },
    );
  } catch (error) {
    await run.end(1).catch(console.error); // the first error is the one to tell
    throw error;
  }
  await run.end(0);
  const { entity, project, run: id } = run.place;
  console.log(`run ${id} of ${entity}/${project}`);
}

await main(process.argv.slice(2));
