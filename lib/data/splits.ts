/** A part of a data set that its card or the names of its files tell. */
export interface Split {
  readonly name: string;
  readonly files: readonly string[];
}

/** What each split is called in names of files, as Python's datasets knows it. */
const SPLIT_WORDS: readonly (readonly [name: string, words: RegExp])[] = [
  ['train', wordsOf('train', 'training')],
  ['validation', wordsOf('validation', 'valid', 'dev', 'val')],
  ['test', wordsOf('test', 'testing', 'eval', 'evaluation')],
];

function wordsOf(...words: readonly string[]): RegExp {
  return new RegExp(`(^|[/._0-9-])(${words.join('|')})([/._0-9-]|$)`, 'i');
}

/** Files without the name of a split are to train on. */
export function splitsByName(paths: readonly string[]): Split[] {
  const splits = new Map<string, string[]>();
  for (const path of paths) {
    const [name] = SPLIT_WORDS.find(([, words]) => words.test(path)) ?? ['train'];
    splits.set(name, [...(splits.get(name) ?? []), path]);
  }
  return [...splits].map(([name, files]) => ({ name, files }));
}
