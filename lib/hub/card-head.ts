import { parse } from 'yaml';
import { isJsonObject } from '../files/strict-json.js';

/** The head of a card, in YAML between lines of dashes; empty where there is none. */
export function cardHead(card: string): Readonly<Record<string, unknown>> {
  const [, head] = /^---\r?\n(.*?)\r?\n---/s.exec(card) ?? [];
  try {
    const value: unknown = head === undefined ? null : parse(head);
    return isJsonObject(value) ? value : {};
  } catch {
    return {}; // written by hand, and of no account to the files
  }
}
