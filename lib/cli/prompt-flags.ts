import type { Prompt } from '../encoders/prompts.js';
import { type Arguments, type Flags, text, UsageError } from './flags.js';

/** A model with prompts by name. */
interface HasPrompts {
  readonly prompts: Readonly<Record<string, string>>;
}

/**
 * Two flags for the prompt of some texts: `--NAME` takes the name of a prompt of the model, `--NAME-text` the words.
 *
 * @param help what they are put before, and what is used where neither flag is given
 */
export function promptFlags(
  name: string,
  help: { readonly before: string; readonly otherwise: string },
): Flags {
  const named = `prompt of the model put before ${help.before}, '' for none; default: ${help.otherwise}`;
  return {
    [name]: text('NAME', named),
    [`${name}-text`]: text('TEXT', 'the words themselves, such as "query: "'),
  };
}

/**
 * The prompt that one of the two flags gives, for the model that it is looked up in; undefined where neither is given.
 *
 * @param flag the one that takes a name, without its dashes
 * @throws UsageError for both at once; the function given throws one for a name that is none of the model's
 */
export function promptOf(args: Arguments, flag: string): (model: HasPrompts) => Prompt | undefined {
  const name = args.text(flag);
  const prefix = args.text(`${flag}-text`);
  if (name !== undefined && prefix !== undefined)
    throw new UsageError(`--${flag} and --${flag}-text exclude each other: give one of them.`);
  if (prefix !== undefined) return () => ({ prefix });
  return (model) => {
    if (name === undefined || name === '' || Object.hasOwn(model.prompts, name)) return name;
    const known = Object.keys(model.prompts).join(', ');
    throw new UsageError(
      `--${flag} is ${name}, and the model has ${known === '' ? 'no prompts' : `the prompts ${known}`}. ` +
        `Give '' for none, or the words themselves with --${flag}-text.`,
    );
  };
}
