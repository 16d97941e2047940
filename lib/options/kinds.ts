import type { Fields } from './fields.js';
import { readSettings, type SettingTable } from './setting-table.js';

/** What a list of kinds (the losses, the optimizers) says of one of them. */
interface Kind<S> {
  readonly settings: SettingTable<S>;
  /** Checks settings that depend on each other. @throws GradCacheError `INPUT` */
  readonly check?: (settings: S, fields: Fields) => void;
}

/** One kind by name, with all of its settings. */
export type Filled<Settings, K extends keyof Settings = keyof Settings> = {
  [Name in K]: { readonly kind: Name } & Settings[Name];
}[K];

/** One kind in a configuration: its name and its settings. Missing ones have their defaults, and so has the name. */
export type Given<Settings, Default extends keyof Settings> =
  | ({ readonly kind?: Default } & Partial<Settings[Default]>)
  | { [Name in keyof Settings]: { readonly kind: Name } & Partial<Settings[Name]> }[keyof Settings];

/** Reads one of the kinds of a list. @throws GradCacheError `INPUT` */
export function readKind<Settings>(
  fields: Fields,
  kinds: { readonly [Name in keyof Settings]: Kind<Settings[Name]> },
  otherwise: keyof Settings & string,
): Filled<Settings> {
  const kind = fields.oneOf('kind', Object.keys(kinds) as (keyof Settings & string)[]) ?? otherwise;
  const { settings: table, check } = kinds[kind];
  const settings = readSettings(fields, table);
  fields.done(kind);
  check?.(settings, fields);
  return { kind, ...settings };
}
