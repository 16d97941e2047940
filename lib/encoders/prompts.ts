import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { show } from '../options/option-values.js';
import type { TextTask } from '../model-folder/late-interaction.js';

/**
 * What is put in front of a text: the name of one of the model's prompts, `''` for nothing, or the words themselves:
 * `{ prefix: 'query: ' }`.
 */
export type Prompt =
  | string
  | {
      /** The words, as they stand before each text. */
      readonly prefix: string;
    };

const TASK_PROMPTS: Readonly<Record<TextTask, readonly string[]>> = {
  query: ['query'],
  document: ['document', 'passage', 'corpus'],
};

/** See {@link Prompts.nameFor}. @param has whether there is a prompt of a name */
export function promptNameFor(task: TextTask, has: (name: string) => boolean): string {
  return TASK_PROMPTS[task].find(has) ?? '';
}

/** The prompts of a model by name, and its default prompt. */
export class Prompts {
  readonly #texts: Map<string, string>;
  readonly defaultName: string | null;

  constructor(texts: Readonly<Record<string, string>>, defaultName: string | null) {
    this.#texts = new Map(Object.entries(texts));
    this.defaultName = defaultName;
  }

  /** A copy: the prompts change through {@link Prompts.set} alone. */
  get texts(): Readonly<Record<string, string>> {
    return Object.freeze(Object.fromEntries(this.#texts));
  }

  /** @throws GradCacheError `INPUT` unless both are strings and the name is not empty */
  set(name: string, text: string): void {
    if (typeof name !== 'string' || name === '')
      throw new GradCacheError(
        'INPUT',
        `the prompt's name is ${show(name)}; a string that is not empty is needed`,
      );
    if (typeof text !== 'string')
      throw new GradCacheError('INPUT', `the prompt ${show(name)} is ${show(text)}, not a string`);
    this.#texts.set(name, text);
  }

  /**
   * The name of the prompt for queries or for documents; `''` where there is none. Documents take the first of `document`,
   * `passage` and `corpus` that there is.
   */
  nameFor(task: TextTask): string {
    return promptNameFor(task, (name) => this.#texts.has(name));
  }

  /**
   * The words to put in front of a text.
   *
   * @param prompt undefined means the default prompt
   * @throws GradCacheError `INPUT` for an unknown name, or a value that is not a prompt
   */
  prefixOf(prompt: Prompt | undefined): string {
    const asked = prompt === undefined ? (this.defaultName ?? '') : prompt;
    if (typeof asked === 'string') return asked === '' ? '' : this.#named(asked);
    checkKnown('prompt', asked, ['prefix']);
    if (typeof asked.prefix !== 'string')
      throw new GradCacheError('INPUT', `prompt.prefix is ${show(asked.prefix)}, not a string`);
    return asked.prefix;
  }

  #named(name: string): string {
    const text = this.#texts.get(name);
    if (text !== undefined) return text;
    const known = [...this.#texts.keys()].join(', ') || 'none';
    throw new GradCacheError(
      'INPUT',
      `prompt '${name}' does not exist; the model has ${known}. Words that are no name are given as { prefix: … }.`,
    );
  }
}
