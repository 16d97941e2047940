import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { isNumber, refused } from '../options/option-values.js';
import { requireLossOptions, type LossOptions, type LossWithGradients } from './loss.js';

/*
 * Keyword arguments of a loss over ranks: each rank gives those of its own rows, and the loss is computed over the rows of
 * all, those of rank 0 first in each tower.
 */

/** A list of the values, or a typed array. */
type Listed = readonly unknown[] | NodeJS.TypedArray;

/**
 * Keyword arguments of the rows of all ranks from those of each. A list with an entry for each row of the first tower, for
 * each row of all towers, or for each row that towers of as many rows share and then those of the others, becomes the list of
 * all ranks; anything else must be the same on all.
 *
 * @param parts the keyword arguments of each rank
 * @param rows of each rank, the number of rows of each tower
 * @throws GradCacheError `INPUT`
 */
export function joinRowOptions(
  parts: readonly LossOptions[],
  rows: readonly (readonly number[])[],
): LossOptions {
  requireParts(parts, rows);
  const names = Object.keys(parts[0]!);
  for (const [rank, part] of parts.entries()) {
    const others = Object.keys(part);
    if (others.length !== names.length || !names.every((name) => others.includes(name)))
      throw new GradCacheError(
        'INPUT',
        `rank ${rank} gives its loss the keyword arguments ${others.join(', ') || 'none'}, rank 0 ` +
          `${names.join(', ') || 'none'}: give all ranks the same ones`,
      );
  }
  return Object.fromEntries(
    names.map((name) => [
      name,
      joined(
        name,
        parts.map((part) => part[name]),
        rows,
      ),
    ]),
  );
}

/**
 * The same for a loss of one tower, whose lists may have an entry for several rows, such as a query with all its documents: the
 * lists of all ranks are one behind the other.
 *
 * @param check refuses the keyword arguments of a rank that do not fit its rows: joined they could fit those of all by chance, and
 * be about others
 * @throws GradCacheError `INPUT`, and what `check` throws
 */
export function joinListOptions(
  parts: readonly LossOptions[],
  rows: readonly (readonly number[])[],
  check: (options: LossOptions, rows: readonly number[]) => void,
): LossOptions {
  requireParts(parts, rows);
  for (const [rank, part] of parts.entries()) check(part, rows[rank]!);
  const listed = Object.keys(parts[0]!).filter((name) => parts.every((part) => isListed(part[name])));
  const others = parts.map((part) =>
    Object.fromEntries(Object.entries(part).filter(([name]) => !listed.includes(name))),
  );
  const joined: [string, unknown[]][] = listed.map((name) => [
    name,
    parts.flatMap((part) => Array.from(part[name] as ArrayLike<unknown>)),
  ]);
  return { ...joinRowOptions(others, rows), ...(Object.fromEntries(joined) as LossOptions) };
}

/**
 * The same for a loss with `targets` and `owners`, which are numbers of rows: those of a rank count its own, and become those
 * among the rows of all.
 *
 * @throws GradCacheError `INPUT`
 */
export function joinPlaceOptions(
  parts: readonly LossOptions[],
  rows: readonly (readonly number[])[],
): LossOptions {
  requireParts(parts, rows);
  const placed = parts.map((part, rank) => {
    const { targets, owners: _, ...others } = part;
    return {
      ...others,
      ...(targets !== undefined && targets !== null && { targets: placesOf(targets, rows, rank) }),
    };
  });
  const all = joinRowOptions(placed, rows);
  const owners = parts.map((part) => part.owners ?? undefined);
  if (owners.every((each) => each === undefined)) return all;
  const given = owners.map((each) => {
    if (isListed(each)) return Array.from(each as ArrayLike<unknown>);
    throw refused('owners', each, 'a list on every rank, or on none');
  });
  const ofTowers = rows[0]!.slice(2).flatMap((_, negative) =>
    given.flatMap((list, rank) => {
      const before = sum(rows[rank]!.slice(2, 2 + negative));
      const first = sum(rows.slice(0, rank).map(([anchors = 0]) => anchors));
      return list
        .slice(before, before + rows[rank]![2 + negative]!)
        .map((owner) => (typeof owner === 'number' && owner >= 0 ? owner + first : owner));
    }),
  );
  return { ...all, owners: ofTowers };
}

/**
 * The same as the loss itself does it, or by default row by row.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function joinOptionsOf(
  loss: LossWithGradients,
  parts: readonly LossOptions[],
  rows: readonly (readonly number[])[],
): LossOptions {
  return loss.joinOptions?.(parts, rows) ?? joinRowOptions(parts, rows);
}

/**
 * The same for a loss around another, which reads the keyword arguments `own`, row by row, and hands on the others.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function joinOptionsAround(
  loss: LossWithGradients,
  own: readonly string[],
  parts: readonly LossOptions[],
  rows: readonly (readonly number[])[],
): LossOptions {
  requireParts(parts, rows);
  const those = (isOwn: boolean): LossOptions[] =>
    parts.map((part) =>
      Object.fromEntries(Object.entries(part).filter(([name]) => own.includes(name) === isOwn)),
    );
  return { ...joinOptionsOf(loss, those(false), rows), ...joinRowOptions(those(true), rows) };
}

/** @throws GradCacheError `INPUT` unless there are keyword arguments and as many rows of towers for each rank */
export function requireParts(parts: unknown, rows: unknown): void {
  if (!Array.isArray(parts) || parts.length === 0)
    throw refused('parts', parts, 'a list with the keyword arguments of each rank');
  for (const part of parts as readonly unknown[]) requireLossOptions('the options of the loss', part);
  const counts = (each: unknown): boolean =>
    Array.isArray(each) && each.every((count) => isNumber(count, { from: 0, whole: true }));
  if (!Array.isArray(rows) || rows.length !== parts.length || !rows.every(counts))
    throw refused('rows', rows, 'a list with the number of rows of each tower, for each rank');
  if (new Set((rows as readonly unknown[][]).map(({ length }) => length)).size > 1)
    throw refused('rows', rows, 'as many towers on every rank');
}

/** Numbers of a rank's candidates, as numbers among those of all ranks. What is no number of a candidate stays as it is. */
function placesOf(targets: unknown, rows: readonly (readonly number[])[], rank: number): unknown {
  if (!isListed(targets)) return targets;
  const own = rows[rank]!;
  const place = (target: unknown): unknown => {
    if (Array.isArray(target)) return target.map(place);
    if (typeof target !== 'number') return target;
    let [rest, first] = [target, 0];
    for (let tower = 1; tower < own.length; tower++) {
      const before = sum(rows.slice(0, rank).map((of) => of[tower]!));
      if (rest >= 0 && rest < own[tower]!) return first + before + rest;
      rest -= own[tower]!;
      first += sum(rows.map((of) => of[tower]!));
    }
    throw new GradCacheError(
      'SHAPE',
      `target ${target} is not one of the ${sum(own.slice(1))} candidates of rank ${rank}`,
    );
  };
  return Array.from(targets as ArrayLike<unknown>, place);
}

function joined(name: string, values: readonly unknown[], rows: readonly (readonly number[])[]): unknown {
  if (!values.every(isListed)) {
    const differs = values.findIndex((value) => isListed(value) || !Object.is(value, values[0]));
    if (differs < 0 || typeof values[0] === 'function' || typeof values[0] === 'object') return values[0];
    throw new GradCacheError('INPUT', `${name} of the loss is not the same on rank 0 and rank ${differs}`);
  }
  const lists = values;
  // Towers that are as long on one rank alone are so by chance: over all ranks they share no entries.
  const shared = Math.min(...rows.map(views));
  const kinds: ((of: readonly number[]) => readonly number[])[] = [
    ([first = 0]) => [first],
    (of) => of,
    (of) => [of[0]!, ...of.slice(shared)],
  ];
  for (const blocks of kinds) {
    if (!lists.every(({ length }, rank) => length === sum(blocks(rows[rank]!)))) continue;
    return blocks(rows[0]!).flatMap((_, block) =>
      lists.flatMap((list, rank) => {
        const counts = blocks(rows[rank]!);
        const begin = sum(counts.slice(0, block));
        return Array.from(list as ArrayLike<unknown>).slice(begin, begin + counts[block]!);
      }),
    );
  }
  const wrong = lists.map(({ length }) => length).join(' and ');
  throw new GradCacheError(
    'INPUT',
    `${name} of the loss has ${wrong} entries on the ranks, whose towers have ${rows.map((of) => of.join(', ')).join(' and ')} ` +
      'rows: over ranks a list needs an entry for each row of the first tower, or of all towers',
  );
}

/** How many towers have as many rows as the first, up to the first that has not. */
function views(rows: readonly number[]): number {
  const other = rows.findIndex((count) => count !== rows[0]);
  return other < 0 ? rows.length : other;
}

const isListed = (value: unknown): value is Listed => Array.isArray(value) || types.isTypedArray(value);

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
