import { promptNameFor, type Prompt } from '../encoders/prompts.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import type { EncodesTexts } from './encode-texts.js';

/** What is put before queries and before documents. */
export type TaskPrompts = Readonly<Record<TextTask, Prompt | undefined>>;

/** Prompts of queries and documents: those asked for, else those of the model by their names. An encoder may know none. */
export function promptsFor(
  { prompts: known }: Pick<EncodesTexts, 'prompts'>,
  asked: Partial<TaskPrompts>,
): TaskPrompts {
  const named = (task: TextTask) => known && promptNameFor(task, (name) => Object.hasOwn(known, name));
  return { query: asked.query ?? named('query'), document: asked.document ?? named('document') };
}
