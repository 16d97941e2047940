import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hardest, HardPair, HardQuery } from '../evaluation/hardest.js';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { isJsonObject } from '../files/strict-json.js';
import { writeJson } from '../files/write-json.js';

/** Where a run keeps what its model found hardest in the last evaluation. */
export function hardestFile(output: string): string {
  return join(output, 'hardest.json');
}

/** What a model found hardest, and after which update. */
export type StoredHardest = Hardest & { readonly step: number };

/** Keeps what the model of a run found hardest, in place of that of the evaluation before. */
export async function writeHardest(output: string, hardest: StoredHardest): Promise<void> {
  await writeJson(hardestFile(output), hardest);
}

/** What the model of a run found hardest; undefined where its folder does not tell. Entries of another form are left out. */
export async function readHardest(output: string): Promise<StoredHardest | undefined> {
  const path = hardestFile(output);
  const text = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent('')));
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isJsonObject(stored)) return undefined;
  const { kind, step, measured, missed, set: name, hardest: given } = stored;
  if (typeof step !== 'number' || typeof measured !== 'number' || !Array.isArray(given)) return undefined;
  const entries: readonly unknown[] = given;
  const set = typeof name === 'string' ? { set: name } : {};
  if (kind === 'pairs') return { kind, step, measured, ...set, hardest: entries.filter(isPair) };
  if (kind !== 'queries' || typeof missed !== 'number') return undefined;
  return { kind, step, measured, missed, ...set, hardest: entries.filter(isQuery) };
}

function isQuery(entry: unknown): entry is HardQuery {
  if (!isJsonObject(entry) || !isJsonObject(entry.right) || !Array.isArray(entry.wrong)) return false;
  const { text, rank, score } = entry.right;
  const wrong: readonly unknown[] = entry.wrong;
  return (
    typeof entry.query === 'string' &&
    typeof text === 'string' &&
    [rank, score].every((value) => value === null || typeof value === 'number') &&
    wrong.every(
      (each) => isJsonObject(each) && typeof each.text === 'string' && typeof each.score === 'number',
    )
  );
}

function isPair(entry: unknown): entry is HardPair {
  return (
    isJsonObject(entry) &&
    [entry.first, entry.second].every((text) => typeof text === 'string') &&
    [entry.score, entry.place, entry.similarity, entry.placed].every((value) => typeof value === 'number')
  );
}
