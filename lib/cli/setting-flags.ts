import type { AnySetting } from '../options/setting-table.js';
import type { Flag } from './flags.js';

/** What a flag takes for each kind of setting. */
const TAKEN: Readonly<Record<AnySetting['kind'], Pick<Flag, 'kind' | 'value'>>> = {
  number: { kind: 'number' },
  numbers: { kind: 'numbers', value: 'N,N' },
  switch: { kind: 'switch' },
  text: { kind: 'text', value: 'TEXT' },
  choice: { kind: 'text', value: 'KIND' },
  choices: { kind: 'list', value: 'A,B' },
};

/** Things of several kinds, each with its own table of settings. */
type Kinds = Readonly<Record<string, { readonly about: string; readonly settings: object }>>;

/**
 * Flags for the settings of all kinds of a section of the configuration: `--loss.scale` sets `loss.scale`. A setting with a
 * shorter flag has both, and the help shows the shorter one.
 */
export function flagsOf(section: string, kinds: Kinds): Record<string, Flag> {
  const flags: Record<string, Flag> = {};
  for (const [name, settings] of byName(kinds)) {
    const sets = `${section}.${name}`;
    const [{ setting }] = settings as [Named];
    const short = settings.find((each) => each.setting.flag !== undefined)?.setting.flag;
    const flag: Flag = {
      ...TAKEN[setting.kind],
      sets,
      help: helpOf(settings, Object.keys(kinds).length),
    };
    if (short !== undefined) flags[short] = flag;
    flags[sets] = { ...flag, hidden: short !== undefined };
  }
  return flags;
}

/** The help of the flag that chooses the kind. */
export function choiceHelp(kinds: Kinds, standard: string): string {
  return Object.entries(kinds)
    .map(([name, { about }]) => `${name}${name === standard ? ' (default)' : ''}: ${about}`)
    .join('\n');
}

/** A setting of one kind. */
interface Named {
  readonly kind: string;
  readonly setting: AnySetting;
}

function byName(kinds: Kinds): Map<string, Named[]> {
  const found = new Map<string, Named[]>();
  for (const [kind, { settings }] of Object.entries(kinds)) {
    for (const [name, setting] of Object.entries<AnySetting>(settings as Record<string, AnySetting>))
      found.set(name, [...(found.get(name) ?? []), { kind, setting }]);
  }
  return found;
}

/** The help of a setting. It names the kinds, unless the setting is the same for all. */
function helpOf(settings: readonly Named[], kinds: number): string {
  const byText = new Map<string, string[]>();
  for (const { kind, setting } of settings) {
    const text = withDefault(setting);
    byText.set(text, [...(byText.get(text) ?? []), kind]);
  }
  const [text] = byText.keys();
  if (settings.length === kinds && byText.size === 1) return text as string;
  return [...byText].map(([help, of]) => `${of.join(', ')}: ${help}`).join('\n');
}

/** The help with the default, and with the accepted names, where its sentence does not tell them. */
function withDefault(setting: AnySetting): string {
  const { help, kind } = setting;
  const standard = setting.default;
  if (/default/i.test(help) || standard === null || standard === false || String(standard) === '')
    return help;
  const accepted = kind === 'choice' || kind === 'choices' ? `: ${setting.accepted.join(', ')}` : '';
  return `${help}${accepted}; default ${standard === true ? 'on' : String(standard)}`;
}
