/*
 * What a shell is told to complete the commands and flags of the program: a script that is made of the same lists as the help.
 */
import { didYouMean } from '../options/nearest.js';
import type { Command } from './command.js';
import { COMMON_FLAGS, namesOf, UsageError, type Flags } from './flags.js';

/** The commands of the program by name, which has one word or two. */
export type Commands = Readonly<
  Record<string, { readonly summary: string; load(): Promise<Pick<Command, 'sections'>> }>
>;

/** A command as a shell sees it. */
interface Completed {
  readonly name: string;
  readonly summary: string;
  readonly flags: Flags;
}

const SHELLS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** `gradcache completion` @param commands those of the program */
export function completionCommand(commands: () => Commands): Command {
  return {
    usage: 'gradcache completion bash|zsh|fish',
    about:
      'Prints a script that makes a shell complete commands, flags and the names of losses and optimizers.',
    operands: ['SHELL'],
    sections: {},
    examples: [
      'source <(gradcache completion bash)',
      'gradcache completion zsh > ~/.zfunc/_gradcache',
      'gradcache completion fish > ~/.config/fish/completions/gradcache.fish',
    ],
    async run({ operands }, { print }) {
      const [shell = ''] = operands;
      const write = Object.hasOwn(SHELLS, shell) ? SHELLS[shell as keyof typeof SHELLS] : undefined;
      if (write === undefined)
        throw new UsageError(
          `SHELL is ${shell}; bash, zsh or fish is needed.${didYouMean(shell, Object.keys(SHELLS))}`,
        );
      print(write(await completed(commands())));
      return 0;
    },
  };
}

async function completed(commands: Commands): Promise<Completed[]> {
  return Promise.all(
    Object.entries(commands).map(async ([name, command]) => {
      const sections = [...Object.values((await command.load()).sections), COMMON_FLAGS];
      const shown = sections
        .flatMap((section) => Object.entries(section))
        .filter(([, { hidden }]) => !hidden);
      return { name, summary: command.summary, flags: Object.fromEntries(shown) };
    }),
  );
}

/** `case` branches that set a variable for each command. */
function flagCases(commands: readonly Completed[], open: string, close: string): string[] {
  return commands.map(({ name, flags }) => {
    const names = namesOf(flags).map((flag) => `--${flag}`);
    return `    '${name}') flags=${open}${names.join(' ')}${close} ;;`;
  });
}

/** `case` branches for flags that take one of some names. */
function choiceCases(commands: readonly Completed[], reply: (names: string) => string): string[] {
  return commands.flatMap(({ name, flags }) =>
    Object.entries(flags).flatMap(([flag, { choices }]) =>
      choices === undefined ? [] : [`    '${name}:--${flag}') ${reply(choices.join(' '))} ;;`],
    ),
  );
}

const firstWords = (commands: readonly Completed[]): string[] => [
  ...new Set(commands.map(({ name }) => name.split(' ')[0]!)),
];

/** The second words of commands of two, by the first. */
function secondWords(commands: readonly Completed[]): Map<string, Completed[]> {
  const seconds = new Map<string, Completed[]>();
  for (const command of commands) {
    const [first, second] = command.name.split(' ') as [string, string?];
    if (second !== undefined) seconds.set(first, [...(seconds.get(first) ?? []), command]);
  }
  return seconds;
}

const secondOf = ({ name }: Completed): string => name.split(' ')[1]!;

function bashScript(commands: readonly Completed[]): string {
  const complete = (words: string): string => `COMPREPLY=($(compgen -W '${words}' -- "$cur")); return`;
  const seconds = [...secondWords(commands)];
  return [
    '# bash completion of gradcache',
    '_gradcache() {',
    "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} flags=''",
    `  if [ "$COMP_CWORD" -eq 1 ]; then ${complete(`${firstWords(commands).join(' ')} --help --version`)}; fi`,
    '  case $command in',
    ...seconds.map(
      ([first, own]) =>
        `    ${first}) if [ "$COMP_CWORD" -eq 2 ]; then ${complete(own.map(secondOf).join(' '))}; fi; command="$command \${COMP_WORDS[2]}" ;;`,
    ),
    '  esac',
    '  case "$command:$prev" in',
    ...choiceCases(commands, complete),
    '  esac',
    '  case $command in',
    ...flagCases(commands, "'", "'"),
    '  esac',
    '  case $cur in -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;; esac',
    '}',
    'complete -o default -F _gradcache gradcache',
  ].join('\n');
}

function zshScript(commands: readonly Completed[]): string {
  const described = firstWords(commands).map((first) => {
    const { summary = `commands of ${first}` } = commands.find(({ name }) => name === first) ?? {};
    return quoted(`${first}:${summary}`);
  });
  return [
    '#compdef gradcache',
    '_gradcache() {',
    '  local command=$words[2]',
    '  local -a flags commands',
    '  if (( CURRENT == 2 )); then',
    `    commands=(${described.join(' ')})`,
    '    _describe command commands',
    '    return',
    '  fi',
    '  case $command in',
    ...[...secondWords(commands)].map(
      ([first, own]) =>
        `    ${first}) if (( CURRENT == 3 )); then compadd -- ${own.map(secondOf).join(' ')}; return; fi; command="$command $words[3]" ;;`,
    ),
    '  esac',
    '  case "$command:$words[CURRENT-1]" in',
    ...choiceCases(commands, (names) => `compadd -- ${names}; return`),
    '  esac',
    '  case $command in',
    ...flagCases(commands, '(', ')'),
    '  esac',
    '  if [[ $PREFIX == -* ]]; then compadd -- $flags; else _files; fi',
    '}',
    'if [ "$funcstack[1]" = _gradcache ]; then _gradcache "$@"; else compdef _gradcache gradcache; fi',
  ].join('\n');
}

function fishScript(commands: readonly Completed[]): string {
  const seconds = secondWords(commands);
  const lines = ['# fish completion of gradcache'];
  for (const first of firstWords(commands)) {
    const { summary = `commands of ${first}` } = commands.find(({ name }) => name === first) ?? {};
    lines.push(`complete -c gradcache -n __fish_use_subcommand -f -a ${first} -d ${quoted(summary)}`);
  }
  for (const [first, own] of seconds)
    for (const command of own) {
      const none = `not __fish_seen_subcommand_from ${own.map(secondOf).join(' ')}`;
      lines.push(
        `complete -c gradcache -n '__fish_seen_subcommand_from ${first}; and ${none}' -f -a ${secondOf(command)} -d ${quoted(command.summary)}`,
      );
    }
  for (const { name, flags } of commands) {
    const [first, second] = name.split(' ') as [string, string?];
    const others = [...seconds.keys()]
      .map((other) => `; and not __fish_seen_subcommand_from ${other}`)
      .join('');
    const where =
      second === undefined
        ? `__fish_seen_subcommand_from ${first}${others}`
        : `__fish_seen_subcommand_from ${first}; and __fish_seen_subcommand_from ${second}`;
    for (const [flag, { kind, help, choices, onByDefault }] of Object.entries(flags)) {
      const takes =
        kind === 'switch' ? '' : choices === undefined ? ' -r' : ` -x -a ${quoted(choices.join(' '))}`;
      const long = onByDefault === true ? `no-${flag}` : flag;
      lines.push(`complete -c gradcache -n '${where}' -l ${long}${takes} -d ${quoted(help.split('\n')[0]!)}`);
    }
  }
  return lines.join('\n');
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", String.raw`'\''`)}'`;
}
