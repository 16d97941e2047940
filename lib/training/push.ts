import { basename, dirname, resolve } from 'node:path';
import { RepositoryCache } from '../hub/hub-cache.js';
import { dataName, isHubName, modelName } from '../hub/hub-name.js';
import { hubCache } from '../hub/hub-settings.js';
import { licenceIn, type CardRun } from '../model-folder/model-card.js';
import { checkPush, pushFolder, type Pushed, type PushOptions } from '../model-folder/push-folder.js';
import { requireString } from '../options/option-values.js';
import { isJsonObject } from '../files/strict-json.js';
import type { EvaluationEvent, StartEvent } from './events.js';
import { eventsOf } from './metrics.js';
import { OBJECT } from './objects.js';

/**
 * Uploads a model folder to the Hugging Face hub, with a model card (README.md): how the model is used, and, for the model or
 * a checkpoint of a run, its settings, data, scores before and after, base model and that one's licence. A README.md in the
 * folder is uploaded as it is. The token is that of HF_TOKEN or of the file that `hf auth login` writes.
 *
 * ```ts
 * const { url } = await push('runs/a/model', 'owner/name', { private: true });
 * ```
 *
 * @param name `owner/name`; the repository is made where there is none
 * @throws GradCacheError `HUB` where the hub refuses or cannot be reached; `SETUP` where the package @huggingface/hub is not
 * installed; `CHECKPOINT` for a folder that holds no model; `INPUT`, `ABORTED`
 */
export async function push(folder: string, name: string, options: PushOptions = {}): Promise<Pushed> {
  requireString('folder', folder);
  checkPush(name, options);
  return pushFolder(folder, name, options, await runOf(folder));
}

/** What the metrics beside a model tell of its run; undefined where there are none. */
async function runOf(folder: string): Promise<CardRun | undefined> {
  const path = resolve(folder);
  const events = await eventsOf(dirname(path)).catch(() => []);
  const start = events.findLast((event) => event.type === 'start');
  const saved = events.findLast(
    (event) => event.type === 'saved' && basename(event.folder) === basename(path),
  );
  if (start?.type !== 'start' || saved?.type !== 'saved' || !isJsonObject(start.settings)) return undefined;
  const { settings } = start;
  const base = await baseOf(settings['model']);
  const data = list(settings['data']);
  return {
    ...base,
    datasets: [...new Set(data.filter(isHubName).map((name) => dataName('data', name).name))],
    facts: factsOf(start, saved.step, data),
    scores: scoresOf(
      events.flatMap((event) =>
        event.type === 'evaluation' && event.step <= (saved.bestOf ?? saved.step) ? [event] : [],
      ),
    ),
  };
}

async function baseOf(model: unknown): Promise<Pick<CardRun, 'base' | 'licence'>> {
  if (typeof model !== 'string' || model === OBJECT) return { base: null, licence: null };
  if (!isHubName(model)) return { base: null, licence: await licenceIn(model) };
  const repository = modelName('model', model);
  const folder = new RepositoryCache(hubCache(), repository).snapshot(repository.revision);
  return { base: repository.name, licence: await licenceIn(folder) };
}

/** Sections of settings that say how a model was trained. */
const TOLD = [
  'loss',
  'optimizer',
  'schedule',
  'matryoshka',
  'adaptiveLayer',
  'memory',
  'curriculum',
  'prompts',
];
const ALSO_TOLD = [
  'batch',
  'precision',
  'maxLength',
  'dropout',
  'frozen',
  'embeddingGradients',
  'masterWeights',
  'seed',
  'uniqueTexts',
  'groupByLabel',
];

function factsOf(
  { settings, rows, columns }: StartEvent,
  steps: number,
  data: readonly string[],
): [string, string][] {
  // A path says nothing to others, and more than it should.
  const files = data.map((name) => (isHubName(name) ? name : basename(name)));
  const facts: [string, string][] = [
    [
      'data',
      files.length > 5
        ? `${files.slice(0, 5).join(', ')} and ${files.length - 5} more files`
        : files.join(', '),
    ],
    ['columns', columns.join(', ')],
    ...(rows === null ? [] : [['rows', String(rows)] as [string, string]]),
    ['updates', String(steps)],
  ];
  for (const name of ALSO_TOLD) if (isTold(settings[name])) facts.push([name, written(settings[name])]);
  for (const name of TOLD) {
    const section = settings[name];
    if (!isJsonObject(section)) continue;
    const told = Object.entries(section).filter(([key, value]) => isTold(value) && key !== 'guide');
    if (told.length > 0)
      facts.push([name, told.map(([key, value]) => `${key} ${written(value)}`).join(', ')]);
  }
  return facts;
}

const isTold = (value: unknown): boolean => value !== undefined && value !== null;

const written = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

function scoresOf(evaluations: readonly EvaluationEvent[]): CardRun['scores'] {
  const last = evaluations.at(-1);
  if (last === undefined) return [];
  const [first] = evaluations.filter(({ step }) => step === 0);
  return Object.entries(last.scores).map(([name, after]) => ({
    name,
    before: first?.scores[name] ?? null,
    after,
  }));
}

function list(value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).filter((item): item is string => typeof item === 'string');
}
